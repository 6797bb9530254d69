"""Every error code: documented, answered with one status, and with a message that says what to do."""

import re
from typing import Final

import pytest

from openai_frontend.errors import _VALIDATION_CODES, ApiError, from_speech_error, timed_out
from speech_protocol.errors import ErrorCode, SpeechError
from tests.contract.error_sources import FRONTEND, ROOT, RaisedError, raised_errors

# The messages of the Qwen3-TTS engine are written separately.
_ERRORS: Final = [error for error in raised_errors() if "qwen3_tts" not in error.where]
_WHAT_TO_DO: Final = re.compile(
    r"\b(Add|Send|Use|Try|Retry|Raise|Choose|Omit|See|Set|Delete|Write|Start|Record|Describe|Name|shorten)\b"
    r"|must be|has 1 to|lists all|log says"
)
# Former private vocabulary, which readers of an error do not know.
_PRIVATE_WORDS: Final = re.compile(
    r"in the house|\bwho(ever)?\b|\bnobody\b|is gone|was told|its turn|place came free|forget it"
)
# Messages composed of others: a validation, the operator's reason, a failure that the decoder explains.
_COMPUTED: Final = {
    "openai_frontend/errors.py",
    "openai_frontend/audio/uploads/decoding.py",
    "openai_frontend/voices/catalog.py",
    "speech_engines/forced_aligner/engine.py",
    "speech_protocol/events.py",
}


def documented() -> dict[str, set[int]]:
    """Code to the statuses of the table in docs/openai-api.md."""
    section = (ROOT / "docs/openai-api.md").read_text().split("## Error codes\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\d, ]+) \|", section, re.MULTILINE)
    return {code: {int(status) for status in statuses.split(",")} for code, statuses in rows}


def statuses() -> dict[str, set[int]]:
    """Code to the statuses that the code answers it with."""
    found: dict[str, set[int]] = {"http_error": {400}}
    pairs = [(error.code, error.status) for error in _ERRORS if FRONTEND in error.where]
    pairs += [(str(code), from_speech_error(SpeechError(code, "x")).status) for code in ErrorCode]
    pairs += [(code, 400) for code in (*_VALIDATION_CODES.values(), "invalid_type")]
    for code, status in pairs:
        if code is not None and status is not None:
            found.setdefault(code, set()).add(status)
    return found


def test_the_table_of_codes_is_what_the_code_answers() -> None:
    assert documented() == statuses()


@pytest.mark.parametrize("error", _ERRORS, ids=lambda error: error.where)
def test_a_message_says_what_to_do_in_plain_words(error: RaisedError) -> None:
    if error.message is None:
        assert error.where.partition(":")[0] in _COMPUTED
        return
    computed = error.message in {"{}: {}.", "{} {}.", "{}."}
    assert computed or _WHAT_TO_DO.search(error.message), error.message
    assert not _PRIVATE_WORDS.search(error.message), error.message
    assert re.search(r"[.?`\]}]$", error.message.strip()), error.message
    assert len(error.message) < 300


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_of_the_wire_tells_clients_whether_to_try_again(code: ErrorCode) -> None:
    error = from_speech_error(SpeechError(code, "A message. Send another one.", "text"))
    body = error.body()["error"]
    assert (body["code"], body["param"]) == (str(code), "input")
    assert body["type"] == ("invalid_request_error" if error.status < 500 else "server_error")
    if error.status == 503:
        assert int(error.headers.get("Retry-After", 0)) >= 1 or error.headers["x-should-retry"] == "false"


def test_a_time_out_tells_clients_not_to_try_again() -> None:
    assert isinstance(timed_out(1), ApiError)
    assert timed_out(1).headers["x-should-retry"] == "false"
