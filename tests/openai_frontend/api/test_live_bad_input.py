"""Live clients that read nothing, close one direction, or send too much: an end, and nothing left behind."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import pytest

from openai_frontend.transport.connections import Phase
from speech_protocol.models import HIBARI
from tests.support.fake_stack import FakeStack
from tests.support.waiting import eventually

LONG = "The children are playing in the garden. " * 400
PATHS = {"speech stream": "/v1/audio/speech/stream", "Cartesia": "/tts/websocket?api_key=x"}
Socket = aiohttp.ClientWebSocketResponse


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStack]:
    folder = tmp_path_factory.mktemp("fake")
    with FakeStack(folder, default_model=HIBARI.name, idle_timeout=0, send_timeout=1, live_idle_timeout=60) as running:
        yield running


def opened(wire: str) -> list[dict[str, Any]]:
    """The messages that begin a long utterance."""
    if wire == "speech stream":
        config = {"type": "session.config", "model": HIBARI.name, "response_format": "pcm"}
        return [config, {"type": "input.text", "text": LONG}]
    encoding = {"container": "raw", "encoding": "pcm_f32le", "sample_rate": 48_000}
    voice = {"mode": "id", "id": "alloy"}
    return [{"context_id": "c", "transcript": LONG, "continue": True, "voice": voice, "output_format": encoding}]


def converse(stack: FakeStack, wire: str, use: Callable[[Socket], Awaitable[None]]) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            socket = await session.ws_connect(f"{stack.frontend.url}{PATHS[wire]}", max_msg_size=0)
            await use(socket)
            if socket._response.connection is not None and socket._response.connection.transport is not None:
                transport(socket).abort()
            await socket.close()

    asyncio.run(scenario())
    eventually(lambda: stack.frontend.health()["pending_requests"] == 0, "the request has ended")
    eventually(lambda: stack.triton.active == 0, "the model is idle")
    eventually(lambda: stack.frontend.connections(Phase.ACTIVE) == 0, "no connection is counted")


def transport(socket: Socket) -> asyncio.Transport:
    connection = socket._response.connection
    assert connection is not None
    assert isinstance(connection.transport, asyncio.Transport)
    return connection.transport


@pytest.mark.parametrize("wire", PATHS)
def test_a_client_that_reads_nothing_is_given_up(stack: FakeStack, wire: str) -> None:
    async def use(socket: Socket) -> None:
        transport(socket).pause_reading()
        for message in opened(wire):
            await socket.send_json(message)
        await asyncio.to_thread(eventually, lambda: stack.frontend.health()["pending_requests"] == 1, "it has begun")
        await asyncio.to_thread(eventually, lambda: stack.frontend.health()["pending_requests"] == 0, "it is given up")

    converse(stack, wire, use)


@pytest.mark.parametrize("wire", PATHS)
def test_a_client_that_closes_its_sending_side_is_disconnected(stack: FakeStack, wire: str) -> None:
    async def use(socket: Socket) -> None:
        for message in opened(wire):
            await socket.send_json(message)
        await socket.receive()
        transport(socket).write_eof()
        await asyncio.to_thread(eventually, lambda: stack.frontend.health()["pending_requests"] == 0, "it is cancelled")

    converse(stack, wire, use)


@pytest.mark.parametrize("wire", PATHS)
def test_a_message_of_ten_megabytes_closes_the_connection(stack: FakeStack, wire: str) -> None:
    async def use(socket: Socket) -> None:
        try:
            await socket.send_str(json.dumps({"type": "input.text", "text": "x" * 10_000_000}))
        except ConnectionError:
            return  # the server did not read it all
        message = await socket.receive()
        while message.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
            message = await socket.receive()
        assert socket.close_code in {1009, 1006}

    converse(stack, wire, use)


def test_a_cancel_of_an_unknown_context_has_no_effect_on_the_others(stack: FakeStack) -> None:
    async def use(socket: Socket) -> None:
        await socket.send_json({"context_id": "nobody", "cancel": True})
        message = {**opened("Cartesia")[0], "transcript": "Good morning.", "continue": False}
        await socket.send_json(message)
        kinds = []
        while "done" not in kinds:
            fields = json.loads((await socket.receive()).data)
            if fields["context_id"] == "c":
                kinds.append(fields["type"])
        assert "chunk" in kinds

    converse(stack, "Cartesia", use)


def test_text_after_the_end_of_a_context_is_an_error_of_that_context_or_a_new_one(stack: FakeStack) -> None:
    async def use(socket: Socket) -> None:
        message = {**opened("Cartesia")[0], "transcript": "Good morning.", "continue": False}
        await socket.send_json(message)
        await socket.send_json({**message, "transcript": "And more."})
        ended = 0
        while not ended:
            fields = json.loads((await socket.receive()).data)
            assert fields["context_id"] == "c"
            ended += fields["type"] in {"error", "done"}

    converse(stack, "Cartesia", use)
