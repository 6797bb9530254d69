"""API keys and their limits, over real sockets: accepted and refused requests, and the headers of both."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from pydantic import ValidationError

from tests.support.fake_stack import FakeStack
from tests.support.limits import frozen_limits
from tests.support.replies import check
from tests.support.stack import Frontend, GivenSettings

SPEECH = "/v1/audio/speech"
LISTS = ("/v1/models", "/v1/models/tts-1", "/v1/audio/models", "/v1/audio/voices", "/v1/audio/languages", "/models")
GOOD = {"model": "tts-1", "voice": "alloy", "input": "Hello."}
FIRST, SECOND, THIRD = "sk-first", "sk-second", "sk-third-of-the-file"


@pytest.fixture(scope="module")
def start(stack: FakeStack) -> Iterator[Callable[..., Frontend]]:
    """`start(**settings)`: a frontend before the Triton of the session, stopped at the end of the module."""
    running: list[Frontend] = []

    def begin(**settings: Any) -> Frontend:
        frontend = Frontend(triton_url=stack.triton.url, default_model="hibari", idle_timeout=0, **settings)
        running.append(frontend.__enter__())
        return frontend

    yield begin
    for frontend in running:
        frontend.__exit__()


@pytest.fixture(scope="module")
def closed(start: Callable[..., Frontend], tmp_path_factory: pytest.TempPathFactory) -> Frontend:
    """A frontend with two keys in its settings and one in a file."""
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(f"# of the house\n\n{THIRD}  # Ann\n")
    return start(api_keys=f"{FIRST}, {SECOND}", api_keys_file=str(file))


def speak(frontend: Frontend, key: str | None = None, text: str = "Hello.") -> httpx2.Response:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx2.post(frontend.url + SPEECH, json={**GOOD, "input": text}, headers=headers, timeout=60)


@pytest.mark.parametrize("key", [FIRST, SECOND, THIRD])
def test_each_key_of_the_setting_and_of_the_file_lets_its_holder_speak(closed: Frontend, key: str) -> None:
    reply = speak(closed, key)
    assert reply.status_code == 200
    assert reply.content


@pytest.mark.parametrize("key", [None, "sk-wrong", FIRST[:-1], f"{FIRST},{SECOND}", "# of the house", "sk-\xe9"])
def test_without_a_valid_key_there_is_a_401_in_shape(closed: Frontend, key: str | None) -> None:
    headers = {} if key is None else {"Authorization": f"Bearer {key}".encode("latin-1")}
    reply = httpx2.post(closed.url + SPEECH, json=GOOD, headers=headers, timeout=30)
    check(reply, 401, None, "invalid_api_key")
    assert reply.headers["www-authenticate"] == "Bearer"


def test_the_real_client_raises_its_authentication_error_and_does_not_try_again(closed: Frontend) -> None:
    client = openai.OpenAI(base_url=f"{closed.url}/v1", api_key="sk-wrong", timeout=30)
    with pytest.raises(openai.AuthenticationError) as error:
        client.audio.speech.create(**GOOD)  # type: ignore[arg-type]
    assert error.value.code == "invalid_api_key"
    assert error.value.request_id


@pytest.mark.parametrize("header", [f"Basic {FIRST}", FIRST, "Bearer"])
def test_a_key_in_another_shape_is_refused(closed: Frontend, header: str) -> None:
    reply = httpx2.post(closed.url + SPEECH, json=GOOD, headers={"Authorization": header}, timeout=30)
    check(reply, 401, None, "invalid_api_key")


@pytest.mark.parametrize("path", ["/v1/audio/speech/clone", "/audio/speech", "/v1/nothing", "/openapi.json"])
def test_every_other_path_requires_a_key_even_an_unknown_one(closed: Frontend, path: str) -> None:
    check(httpx2.get(closed.url + path), 401, None, "invalid_api_key")
    check(httpx2.post(closed.url + path), 401, None, "invalid_api_key")


@pytest.mark.parametrize("path", [*LISTS, "/health"])
def test_lists_and_health_are_open_to_clients_that_send_no_key(closed: Frontend, path: str) -> None:
    assert httpx2.get(closed.url + path).status_code == 200


def test_lists_can_be_closed_and_health_stays_open(start: Callable[..., Frontend]) -> None:
    frontend = start(api_keys=FIRST, open_lists=False)
    for path in LISTS:
        check(httpx2.get(frontend.url + path), 401, None, "invalid_api_key")
        assert httpx2.get(frontend.url + path, headers={"Authorization": f"Bearer {FIRST}"}).status_code == 200
    assert httpx2.get(f"{frontend.url}/health").status_code == 200


def test_no_key_is_ever_in_the_log(start: Callable[..., Frontend], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        frontend = start(api_keys="sk-secret-one,sk-secret-two", log_level="debug")
        speak(frontend, "sk-secret-one")
        speak(frontend, "sk-secret-guess")
    assert "settings that differ" in caplog.text
    assert "sk-secret" not in caplog.text


def test_a_server_that_is_meant_to_be_closed_does_not_start_open(tmp_path: Path) -> None:
    empty = tmp_path / "keys"
    empty.write_text("# none yet\n")
    for settings in ({"api_keys_file": str(empty)}, {"api_keys_file": str(tmp_path / "absent")}, {"api_keys": " , "}):
        with pytest.raises(ValidationError, match="API_KEYS"):
            GivenSettings(**settings)  # type: ignore[arg-type]


@pytest.fixture
def _time_stops() -> Iterator[None]:
    """No allowance fills up during a test."""
    with frozen_limits():
        yield


@pytest.mark.usefixtures("_time_stops")
def test_requests_beyond_the_minutes_are_429_and_other_keys_go_on(start: Callable[..., Frontend]) -> None:
    frontend = start(api_keys=f"{FIRST},{SECOND}", requests_per_minute=2)
    replies = [speak(frontend, FIRST) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 429]
    check(replies[2], 429, None, "rate_limit_exceeded")
    assert replies[2].headers["retry-after"] == "30"
    assert [reply.headers["x-ratelimit-remaining-requests"] for reply in replies] == ["1", "0", "0"]
    assert {reply.headers["x-ratelimit-limit-requests"] for reply in replies} == {"2"}
    assert replies[0].headers["x-ratelimit-reset-requests"].endswith("s")
    assert speak(frontend, SECOND).status_code == 200
    assert httpx2.get(f"{frontend.url}/v1/models").status_code == 200


@pytest.mark.usefixtures("_time_stops")
def test_characters_beyond_the_minutes_are_429(start: Callable[..., Frontend]) -> None:
    frontend = start(api_keys=FIRST, characters_per_minute=20)
    first, second = speak(frontend, FIRST, "Twelve signs"), speak(frontend, FIRST, "Twelve again")
    assert first.status_code == 200
    assert first.headers["x-ratelimit-remaining-characters"] == "8"
    check(second, 429, None, "rate_limit_exceeded")
    assert int(second.headers["retry-after"]) >= 1
    too_long = speak(frontend, FIRST, "x" * 21)
    check(too_long, 429, None, "rate_limit_exceeded")
    # However long a client waits, the minute's allowance is never that large.
    assert too_long.headers["x-should-retry"] == "false"
    assert "retry-after" not in too_long.headers


@pytest.mark.usefixtures("_time_stops")
def test_without_keys_the_limits_are_shared_by_all_clients(start: Callable[..., Frontend]) -> None:
    frontend = start(requests_per_minute=1)
    assert [speak(frontend, key).status_code for key in (None, "sk-any")] == [200, 429]
