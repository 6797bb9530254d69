"""WS /v1/audio/speech/stream: text in pieces, speech during synthesis, interruptions, and clients that violate the
protocol."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import pytest

from tests.support.listening import decode, transcribe, word_error_rate, words
from tests.support.stack import Frontend, Stack

TEXT = "The children are playing in the garden. Winter was late, and the river stayed open."
CONFIG = {"type": "session.config", "model": "hibari", "voice": "alloy", "response_format": "pcm"}
DONE = {"type": "input.done"}
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
async def connected(frontend: Frontend, key: str = "sk-one") -> AsyncIterator[Socket]:
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(f"{frontend.url}/v1/audio/speech/stream") as socket,
    ):
        yield socket


async def read(socket: Socket) -> dict[str, Any] | bytes:
    message = await socket.receive()
    assert message.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}, message
    return message.data if message.type is aiohttp.WSMsgType.BINARY else dict(json.loads(message.data))


async def until(socket: Socket, kind: str) -> tuple[list[dict[str, Any]], bytes]:
    """The messages up to one of that type, and the bytes between them."""
    received, audio = [], b""
    while True:
        message = await read(socket)
        if isinstance(message, bytes):
            audio += message
            continue
        received.append(message)
        if message["type"] == kind:
            return received, audio


async def configured(socket: Socket, **fields: Any) -> None:
    await socket.send_json({**CONFIG, **fields})
    await until(socket, "session.configured")


async def say(socket: Socket, text: str, size: int = 9) -> None:
    for at in range(0, len(text), size):
        await socket.send_json({"type": "input.text", "text": text[at : at + size]})


def check_words(audio: bytes, response_format: str, text: str) -> None:
    assert word_error_rate(transcribe(decode(audio, response_format)), words(text)) <= 0.25


@pytest.mark.parametrize(("response_format", "speed"), [("pcm", 1.0), ("mp3", 1.0), ("opus", 0.8)])
def test_a_text_in_pieces_is_whole_speech_and_so_is_the_next_one(
    frontend: Frontend, response_format: str, speed: float
) -> None:
    async def scenario() -> list[tuple[list[dict[str, Any]], bytes]]:
        async with connected(frontend) as socket:
            await configured(socket, response_format=response_format, speed=speed)
            results = []
            for _ in range(2):
                await say(socket, TEXT)
                await socket.send_json({"type": "input.done"})
                results.append(await until(socket, "session.done"))
            await socket.send_json({"type": "session.close"})
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
            return results

    for number, (messages, audio) in enumerate(run(scenario)):
        check_words(audio, response_format, TEXT)
        starts = [message for message in messages if message["type"] == "audio.start"]
        assert " ".join(message["sentence_text"] for message in starts) == TEXT
        assert [message["sentence_index"] for message in starts] == list(range(len(starts)))
        assert {message["utterance_index"] for message in messages} == {number}
        assert sum(message.get("total_bytes", 0) for message in messages) == len(audio)
        assert messages[-1]["total_sentences"] == len(starts)


def test_speech_begins_while_the_text_is_open_and_words_have_times(frontend: Frontend) -> None:
    async def scenario() -> list[dict[str, Any]]:
        async with connected(frontend) as socket:
            await configured(socket, word_timestamps=True)
            await say(socket, TEXT)
            early, _ = await until(socket, "audio.chunk")
            await socket.send_json({"type": "input.done"})
            return [*early, *(await until(socket, "session.done"))[0]]

    messages = run(scenario)
    times = [word for message in messages for word in message.get("timestamps", ())]
    assert [word["word"] for word in times] == TEXT.split()
    assert times == sorted(times, key=lambda word: word["start"])


def test_a_cancel_silences_the_utterance_and_the_next_one_is_spoken(frontend: Frontend) -> None:
    async def scenario() -> tuple[bytes, bytes]:
        async with connected(frontend) as socket:
            await configured(socket)
            await say(socket, TEXT * 50, 500)
            await until(socket, "audio.start")
            await socket.send_json({"type": "input.cancel"})
            await until(socket, "audio.cancelled")
            await say(socket, TEXT)
            await socket.send_json({"type": "input.done"})
            return b"", (await until(socket, "session.done"))[1]

    check_words(run(scenario)[1], "pcm", TEXT)


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([{"type": "input.text", "text": "Hello."}], "invalid_value"),
        ([{"type": "input.done"}], "invalid_value"),
        ([{**CONFIG, "speed": 9}], "invalid_value"),
        ([{**CONFIG, "model": "tts-9"}], "model_not_found"),
        ([CONFIG, {"type": "input.text"}], "missing_required_parameter"),
        ([CONFIG, {"type": "input.sing"}], "invalid_value"),
        ([CONFIG, {"type": "input.text", "text": "Hello."}, CONFIG], "invalid_value"),
        ([CONFIG, {"type": "input.text", "text": "..."}, {"type": "input.done"}], "empty_input"),
        ([CONFIG, {"type": "input.text", "text": "Wait"}], "request_timeout"),  # and nothing more
        ([{**CONFIG, "voice": "nobody"}, {"type": "input.text", "text": "A. B"}, DONE], "unknown_speaker"),
    ],
)  # fmt: skip
def test_a_message_out_of_order_or_with_a_wrong_field_is_an_error_and_the_session_goes_on(
    frontend: Frontend, messages: list[dict[str, Any]], code: str
) -> None:
    async def scenario() -> str:
        async with connected(frontend) as socket:
            for message in messages:
                await socket.send_json(message)
            error = (await until(socket, "error"))[0][-1]
            assert error["message"]
            await socket.send_json({"type": "input.cancel"})
            await until(socket, "audio.cancelled")
            await configured(socket)
            return str(error["code"])

    assert run(scenario) == code


@pytest.mark.parametrize(
    ("message", "close_code"),
    [(b"audio", 1003), ("not JSON", 1007), ("[]", 1007), ("{}", 1007), (json.dumps({"type": "y" * 200_000}), 1009)],
    ids=["binary", "text", "a list", "no type", "too large"],
)  # fmt: skip
def test_what_is_no_message_closes_the_connection_with_its_code(
    frontend: Frontend, message: str | bytes, close_code: int
) -> None:
    async def scenario() -> int | None:
        async with connected(frontend) as socket:
            await (socket.send_bytes(message) if isinstance(message, bytes) else socket.send_str(message))
            async for _ in socket:
                pass
            return socket.close_code

    assert run(scenario) == close_code


def test_a_page_sends_its_key_in_a_subprotocol(frontend: Frontend) -> None:
    async def scenario(key: str) -> str | None:
        encoded = base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")
        url, protocols = f"{frontend.url}/v1/audio/speech/stream", ("speech", f"bearer.base64url.{encoded}")
        async with aiohttp.ClientSession() as session, session.ws_connect(url, protocols=protocols) as socket:
            return socket.protocol

    assert run(lambda: scenario("sk-one")) == "speech"
    with pytest.raises(aiohttp.WSServerHandshakeError):
        run(lambda: scenario("sk-other"))


def test_a_cancel_ends_the_utterances_that_wait_for_the_one_before(frontend: Frontend) -> None:
    async def scenario() -> int:
        async with connected(frontend) as socket:
            await configured(socket)
            for _ in range(3):
                await say(socket, TEXT * 5, 100)
                await socket.send_json(DONE)
            while not isinstance(await read(socket), bytes):
                pass
            await socket.send_json({"type": "input.cancel"})
            received, _ = await until(socket, "audio.cancelled")
            await say(socket, "Hello there.")
            await socket.send_json(DONE)
            received, _ = await until(socket, "session.done")
            return sum(message["type"] == "audio.start" for message in received)

    assert run(scenario) == 1


def test_utterances_that_wait_have_a_limit(frontend: Frontend) -> None:
    async def scenario() -> dict[str, Any]:
        async with connected(frontend) as socket:
            await configured(socket)
            for number in range(9):
                await say(socket, TEXT if number else TEXT * 100, 1000)
                await socket.send_json(DONE)
            received, _ = await until(socket, "error")
            return received[-1]

    assert run(scenario)["code"] == "rate_limit_exceeded"


def test_without_a_key_the_socket_does_not_open(frontend: Frontend) -> None:
    async def scenario() -> None:
        async with connected(frontend, key="sk-other"):
            pass

    with pytest.raises(aiohttp.WSServerHandshakeError):
        run(scenario)
