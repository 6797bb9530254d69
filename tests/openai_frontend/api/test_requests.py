"""Variants of requests: null or empty fields, texts with unusual characters, unusual HTTP, outcomes."""

import gzip
import json
import re
import socket
import unicodedata
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
import pytest

from openai_frontend.api.schemas import SpeechBody
from tests.openai_frontend.api.test_voices import VOICES
from tests.openai_frontend.audio.signals import record, tone, with_soundfile
from tests.openai_frontend.audio.uploads.test_reference import without_first_atom
from tests.support.fake_stack import FakeStack
from tests.support.replies import check
from tests.support.stack import Frontend, Gate
from tests.support.waiting import eventually

SPEECH = "/v1/audio/speech"
GOOD: dict[str, Any] = {
    "model": "tts-1",
    "voice": "alloy",
    "input": "Hello there.",
    "response_format": "pcm",
    "seed": 7,
}
LISTS = ("/v1/models", "/v1/audio/models", "/v1/audio/voices", "/v1/audio/languages", "/v1/test", "/v1/models/tts-1")


def speak(stack: FakeStack, **fields: Any) -> httpx2.Response:
    return httpx2.post(stack.frontend.url + SPEECH, json={**GOOD, **fields}, timeout=60)


def spoken(stack: FakeStack, **fields: Any) -> bytes:
    reply = speak(stack, **fields)
    assert reply.status_code == 200, reply.text
    return reply.content


def last_event(reply: httpx2.Response) -> dict[str, Any]:
    return dict(json.loads(reply.text.strip().rpartition("data: ")[2]))


# Texts


@pytest.mark.parametrize("text", ["The sign says 出口 today.", "Привет means hello.", "A หมู farm."])
def test_foreign_letters_are_left_out_of_an_english_text_with_a_warning(stack: FakeStack, text: str) -> None:
    latin = re.sub(r"[^\x00-\x7f]+", "", text)
    reply = speak(stack, input=text)
    assert (reply.status_code, reply.content) == (200, spoken(stack, input=latin))
    assert "skipped" in reply.headers["x-speech-warning"]
    assert "skipped" in last_event(speak(stack, input=text, stream_format="sse"))["warnings"][0]
    assert "x-speech-warning" not in speak(stack, input=latin).headers


@pytest.mark.parametrize("text", ["出口はこちらです。", "Привет!", "สวัสดี"])
def test_a_text_without_a_letter_that_the_model_reads_is_an_error_of_the_input(stack: FakeStack, text: str) -> None:
    assert "English" in check(speak(stack, input=text), 400, "input", "unspeakable_text")


def test_a_requested_language_that_is_unsupported_is_an_error_of_the_language(stack: FakeStack) -> None:
    check(speak(stack, input="出口 is Japanese.", language="japanese"), 400, "language", "unsupported_language")


@pytest.mark.parametrize(
    ("odd", "plain"),
    [
        (unicodedata.normalize("NFD", "A café in Zürich."), "A café in Zürich."),
        ("They co\u00adop\u00ader\u00adate.", "They cooperate."),
        ("\ufeffZero\u200bwidth space.", "Zerowidth space."),
        ("An eﬃcient ﬁle.", "An efficient file."),
    ],
)
def test_texts_that_look_the_same_sound_the_same(stack: FakeStack, odd: str, plain: str) -> None:
    assert spoken(stack, input=odd) == spoken(stack, input=plain)


def test_invisible_characters_alone_are_an_empty_input(stack: FakeStack) -> None:
    check(speak(stack, input="\u200b\ufeff\u00ad"), 400, "input", "empty_input")


# Fields


OPTIONAL = sorted(name for name, field in SpeechBody.model_fields.items() if not field.is_required())


@pytest.mark.parametrize("empty", [None, ""], ids=["null", "empty"])
@pytest.mark.parametrize("field", OPTIONAL)
def test_an_optional_field_that_is_null_or_empty_means_its_default(stack: FakeStack, field: str, empty: object) -> None:
    plain = {name: value for name, value in GOOD.items() if name != field}
    reply = httpx2.post(stack.frontend.url + SPEECH, json={**plain, field: empty}, timeout=60)
    assert reply.status_code == 200, reply.text
    if field != "seed":
        assert reply.content == httpx2.post(stack.frontend.url + SPEECH, json=plain, timeout=60).content


def test_the_schema_says_that_optional_fields_may_be_null(stack: FakeStack) -> None:
    schemas = httpx2.get(f"{stack.frontend.url}/openapi.json").json()["components"]["schemas"]
    for name, field in schemas["SpeechBody"]["properties"].items():
        assert ("null" in json.dumps(field)) == (name != "input"), name


@pytest.mark.parametrize(("empty", "param"), [({"input": None}, "input"), ({"input": ""}, "input")])
def test_a_required_field_that_is_null_or_empty_is_an_error(
    stack: FakeStack, empty: dict[str, Any], param: str
) -> None:
    check(speak(stack, **empty), 400, param)


def test_a_voice_of_type_null_is_one_of_a_recording(stack: FakeStack) -> None:
    reply = httpx2.post(stack.frontend.url + VOICES, json={"name": "Ann", "type": None, "consent": None}, timeout=60)
    check(reply, 400, "audio_sample", "missing_required_parameter")


@pytest.mark.parametrize(
    "field",
    [{"temperature": 0}, {"temperature": 10}, {"top_k": 0}, {"top_p": 1}, {"repetition_penalty": 1.05}],
    ids=str,
)
def test_sampling_parameters_are_taken(stack: FakeStack, field: dict[str, float]) -> None:
    assert spoken(stack, **field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("temperature", value) for value in (-0.1, 10.5, "hot")),
        *(("top_k", value) for value in (-1, 100_001, 1.5)),
        *(("top_p", value) for value in (-0.1, 1.1)),
        *(("repetition_penalty", value) for value in (0, 11)),
    ],
)
def test_a_sampling_parameter_out_of_bounds_is_a_400_that_names_it(stack: FakeStack, field: str, value: object) -> None:
    assert field in check(speak(stack, **{field: value}), 400, field)


# Bodies and HTTP


def post(stack: FakeStack, body: bytes, **headers: str) -> httpx2.Response:
    headers = {"Content-Type": "application/json", **headers}
    return httpx2.post(stack.frontend.url + SPEECH, content=body, headers=headers, timeout=60)


def test_a_body_that_is_not_utf_8_is_an_error_with_the_position(stack: FakeStack) -> None:
    body = json.dumps({**GOOD, "input": "Zürich"}, ensure_ascii=False).encode("latin-1")
    message = check(post(stack, body), 400, None, "invalid_json")
    assert "UTF-8" in message
    assert f"byte {body.index(0xFC)}" in message


def test_a_body_that_is_not_json_is_an_error_with_the_position(stack: FakeStack) -> None:
    assert "at character 9" in check(post(stack, b'{"input":'), 400, None, "invalid_json")


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip"])
def test_a_compressed_body_is_a_415_that_says_so(stack: FakeStack, encoding: str) -> None:
    reply = post(stack, gzip.compress(json.dumps(GOOD).encode()), **{"Content-Encoding": encoding})
    assert "Content-Encoding" in check(reply, 415, None, "unsupported_content_encoding")
    assert reply.headers["accept-encoding"] == "identity"
    assert post(stack, json.dumps(GOOD).encode(), **{"Content-Encoding": "identity"}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/health", "/live", "/ready", "/metrics", "/openapi.json", *LISTS])
def test_head_is_answered_as_get_without_a_body(stack: FakeStack, path: str) -> None:
    head, get = (httpx2.request(method, stack.frontend.url + path, timeout=30) for method in ("HEAD", "GET"))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert head.headers["x-request-id"]


def test_head_of_what_cannot_be_got_has_the_status_of_get(stack: FakeStack) -> None:
    for path, status in ((SPEECH, 405), ("/v1/nothing", 404), ("/v1/models/nothing", 404)):
        assert httpx2.head(stack.frontend.url + path).status_code == status


@pytest.mark.parametrize("path", ["", "/live", "/v1/audio/voices?legacy=true", "/v1/models/Qwen%2FQwen3"])
def test_a_request_target_may_be_the_whole_address(stack: FakeStack, path: str) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(stack.frontend.url).port or 0), timeout=30) as connection:
        target = f"{stack.frontend.url}{path}"
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n".encode())
        reply = b"".join(iter(lambda: connection.recv(65_536), b""))
    expected = httpx2.get(target or "/")
    assert reply.startswith(f"HTTP/1.1 {expected.status_code} ".encode())
    assert expected.content in reply


# Recordings

STEREO = np.stack([tone(300, 2.0, 44_101), -0.95 * tone(300, 2.0, 44_101)], axis=1)
RECORDINGS = {
    "a channel inverted, an offset, an odd rate": with_soundfile(0.4 * STEREO + 0.3, 44_101),
    "mov without ftyp": without_first_atom(record("mov", "pcm_s16be", tone(300, 2.0, 48_000), 48_000)),
    "alac": record("ipod", "alac", tone(300, 2.0, 44_100), 44_100),
    "aiff": with_soundfile(tone(300, 2.0, 44_100), 44_100, "AIFF", "PCM_24"),
    "caf": record("caf", "adpcm_ima_qt", tone(300, 2.0, 44_100), 44_100),
}


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_as_devices_make_it_is_taken(stack: FakeStack, name: str) -> None:
    consents = f"{stack.frontend.url}/v1/audio/voice_consents"
    form, files = {"name": name, "language": "en"}, {"recording": ("recording", RECORDINGS[name])}
    reply = httpx2.post(consents, data=form, files=files, timeout=60)
    assert reply.status_code == 200, reply.text
    assert httpx2.delete(f"{consents}/{reply.json()['id']}", timeout=30).status_code == 200


# Outcomes


def outcome(frontend: Frontend, request_id: str, **headers: str) -> httpx2.Response:
    return httpx2.get(f"{frontend.url}{SPEECH}/{request_id}", headers=headers, timeout=30)


def test_the_last_event_says_why_the_audio_ended(stack: FakeStack) -> None:
    assert last_event(speak(stack, stream_format="sse"))["finish_reason"] == "stop"
    assert last_event(speak(stack, stream_format="sse", max_new_tokens=3))["finish_reason"] == "length"


def test_the_outcome_of_a_byte_stream_is_available_by_its_request_id(stack: FakeStack) -> None:
    reply = speak(stack, max_new_tokens=3, input="The sign says 出口 today.")
    found = outcome(stack.frontend, reply.headers["x-request-id"]).json()
    assert found["id"] == reply.headers["x-request-id"]
    assert (found["object"], found["status"], found["finish_reason"]) == ("audio.speech", "completed", "length")
    assert found["usage"]["output_tokens"] == 3
    assert "skipped" in found["warnings"][0]


def test_the_outcome_of_a_stream_under_way_of_one_that_fails_and_of_one_that_is_left(
    stack: FakeStack, name: str, gate: Gate
) -> None:
    def streamed(**script: object) -> Any:
        body = {"model": "scripted", "input": json.dumps({"name": name, **script}), "response_format": "pcm"}
        return httpx2.stream("POST", stack.frontend.url + SPEECH, json=body, timeout=60)

    with streamed(chunks=None, gate=str(gate)) as reply:
        request_id = reply.headers["x-request-id"]
        pieces = reply.iter_raw()  # which closes the stream when it is dropped
        next(pieces)
        assert outcome(stack.frontend, request_id).json()["status"] == "in_progress"
        gate.open()
    eventually(lambda: outcome(stack.frontend, request_id).json()["status"] == "cancelled", "the disconnect is noticed")
    with streamed(chunks=3, fail_after=2) as reply, pytest.raises(httpx2.HTTPError):
        reply.read()
    found = outcome(stack.frontend, reply.headers["x-request-id"]).json()
    assert (found["status"], found["error"]["code"]) == ("failed", "engine_failure")


def test_an_outcome_belongs_to_the_key_of_the_speech_request(stack: FakeStack) -> None:
    settings = {"triton_url": stack.triton.url, "default_model": "hibari", "idle_timeout": 0, "api_keys": "ann,bob"}
    ann, bob = {"Authorization": "Bearer ann"}, {"Authorization": "Bearer bob"}
    with Frontend(**settings) as frontend:
        headers = {**ann, "x-request-id": "mine"}
        assert httpx2.post(frontend.url + SPEECH, json=GOOD, headers=headers, timeout=60).status_code == 200
        assert outcome(frontend, "mine", **ann).json()["status"] == "completed"
        check(outcome(frontend, "mine", **bob), 404, "request_id", "not_found")
        assert outcome(frontend, "mine").status_code == 401
