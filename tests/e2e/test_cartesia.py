"""WS /tts/websocket in Cartesia's protocol: contexts, encodings, word times, interruptions, and invalid messages."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import numpy as np
import pytest

from tests.support.listening import decode, transcribe, word_error_rate, words
from tests.support.stack import Frontend, Stack
from tests.support.waiting import eventually

TEXT = "The children are playing in the garden. Winter was late, and the river stayed open."
WAIT_S = 60
T = TypeVar("T")
Socket = aiohttp.ClientWebSocketResponse


@pytest.fixture(scope="module")
def frontend(stack: Stack) -> Iterator[Frontend]:
    settings = {"default_model": "hibari", "idle_timeout": 0, "live_idle_timeout": 2, "api_keys": "sk-one"}
    with Frontend(triton_url=stack.triton.url, **settings) as running:
        yield running


def run(scenario: Callable[[], Awaitable[T]]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(WAIT_S):
            return await scenario()

    return asyncio.run(bounded())


@asynccontextmanager
async def connected(frontend: Frontend, query: str = "api_key=sk-one", **headers: str) -> AsyncIterator[Socket]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"{frontend.url}/tts/websocket?cartesia_version=2025-04-16&{query}", headers=headers
        ) as socket,
    ):
        yield socket


def message(context: str, transcript: str, **fields: Any) -> dict[str, Any]:
    voice = {"mode": "id", "id": "alloy"}
    output = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24_000}
    base = {"context_id": context, "transcript": transcript, "model_id": "sonic-2", "voice": voice, "language": "en"}
    return {**base, "output_format": output, "continue": False, "add_timestamps": True, **fields}


async def results(socket: Socket, contexts: int) -> dict[str, list[dict[str, Any]]]:
    """The messages of each context, until that number of them are done or failed."""
    found: dict[str, list[dict[str, Any]]] = {}
    while sum(each[-1]["type"] in {"done", "error"} for each in found.values()) < contexts:
        received = json.loads((await socket.receive()).data)
        found.setdefault(received["context_id"], []).append(received)
    return found


def audio_of(messages: list[dict[str, Any]]) -> bytes:
    return b"".join(base64.b64decode(each["data"]) for each in messages if each["type"] == "chunk")


def check_words(pcm: bytes, text: str) -> None:
    assert word_error_rate(transcribe(decode(pcm, "pcm")), words(text)) <= 0.25


def test_contexts_of_one_connection_are_spoken_side_by_side_with_times_of_their_words(frontend: Frontend) -> None:
    texts = {"one": TEXT, "two": "She bought seven red apples at the market."}

    async def scenario() -> dict[str, list[dict[str, Any]]]:
        async with connected(frontend) as socket:
            for context, text in texts.items():
                for at in range(0, len(text), 8):  # cut inside words, too
                    await socket.send_json(message(context, text[at : at + 8], **{"continue": True}))
                await socket.send_json(message(context, ""))
            return await results(socket, 2)

    found = run(scenario)
    for context, text in texts.items():
        check_words(audio_of(found[context]), text)
        times = [each["word_timestamps"] for each in found[context] if each["type"] == "timestamps"]
        assert [word for each in times for word in each["words"]] == text.split()
        starts = [start for each in times for start in each["start"]]
        assert starts == sorted(starts)
        assert found[context][-1]["done"]


@pytest.mark.parametrize(("encoding", "rate_hz", "width"), [("pcm_f32le", 24_000, 4), ("pcm_mulaw", 8_000, 1)])
def test_another_encoding_and_rate_is_as_long_as_the_usual_one(
    frontend: Frontend, encoding: str, rate_hz: int, width: int
) -> None:
    async def scenario(**output: Any) -> bytes:
        async with connected(frontend) as socket:
            usual = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24_000}
            await socket.send_json(message("c", TEXT, output_format={**usual, **output}, seed=1))
            return audio_of((await results(socket, 1))["c"])

    usual = run(scenario)
    other = run(lambda: scenario(encoding=encoding, sample_rate=rate_hz))
    assert len(other) / width / rate_hz == pytest.approx(len(usual) / 2 / 24_000, rel=0.01)
    if encoding == "pcm_f32le":
        check_words((np.frombuffer(other, "<f4") * 32_767).astype("<i2").tobytes(), TEXT)


def test_a_cancelled_context_ends_and_the_others_go_on(frontend: Frontend) -> None:
    async def scenario() -> dict[str, list[dict[str, Any]]]:
        async with connected(frontend) as socket:
            await socket.send_json(message("long", TEXT * 50))
            await socket.receive()
            await socket.send_json({"context_id": "long", "cancel": True})
            await socket.send_json(message("next", TEXT))
            return await results(socket, 2)

    found = run(scenario)
    assert found["long"][-1]["type"] == "done"
    check_words(audio_of(found["next"]), TEXT)
    eventually(lambda: frontend.health()["pending_requests"] == 0, "the request is cancelled")


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"context_id": None}, "context_id"),
        ({"transcript": 5}, "transcript"),
        ({"voice": {"mode": "embedding"}}, "voice.mode"),
        ({"output_format": {"container": "raw", "encoding": "mp3", "sample_rate": 24_000}}, "output_format"),
        ({"output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 7}}, "output_format"),
        ({"voice": {"mode": "id", "id": "nobody"}}, "nobody"),
        ({"transcript": "..."}, "nothing to speak"),
        ({"transcript": "x" * 110_000}, "100000 characters"),
    ],
)
def test_a_wrong_message_is_an_error_of_its_context_and_the_next_one_is_spoken(
    frontend: Frontend, fields: dict[str, Any], what: str
) -> None:
    async def scenario() -> tuple[dict[str, Any], bytes]:
        async with connected(frontend) as socket:
            await socket.send_json({**message("bad", "Hello."), **fields})
            received: dict[str, Any] = {}
            while received.get("type") != "error":
                received = json.loads((await socket.receive()).data)
            await socket.send_json(message("good", TEXT))
            return received, audio_of((await results(socket, 1))["good"])

    error, pcm = run(scenario)
    assert what in error["error"]
    assert error["status_code"] >= 400
    check_words(pcm, TEXT)


def test_a_connection_has_a_limit_of_contexts(frontend: Frontend) -> None:
    async def scenario() -> dict[str, Any]:
        async with connected(frontend) as socket:
            for number in range(33):
                await socket.send_json(message(str(number), "Wait", **{"continue": True}))
            received: dict[str, Any] = {}
            while received.get("context_id") != "32":
                received = json.loads((await socket.receive()).data)
            return received

    assert run(scenario)["status_code"] == 429
    eventually(lambda: frontend.health()["pending_requests"] == 0, "every context is cancelled")


def test_a_key_may_come_in_a_header_or_the_query_and_must_be_valid(frontend: Frontend) -> None:
    async def scenario(query: str, **headers: str) -> None:
        async with connected(frontend, query, **headers):
            pass

    run(lambda: scenario("", **{"X-API-Key": "sk-one"}))
    run(lambda: scenario("", Authorization="Bearer sk-one"))
    for query in ("", "api_key=sk-two"):
        with pytest.raises(aiohttp.WSServerHandshakeError):
            run(lambda query=query: scenario(query))
