"""Live clients that disconnect or cancel at random moments: nothing is left behind."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable

import aiohttp
import psutil
import pytest

from openai_frontend.transport.connections import Phase
from speech_protocol.models import HIBARI, QWEN3_TTS_CUSTOM_VOICE
from tests.support.fake_stack import FakeStack
from tests.support.waiting import eventually

TEXT = "The children are playing in the garden. Winter was late, and the river stayed open. "
CLIENTS, AT_ONCE, WAIT_S = 500, 25, 300
Socket = aiohttp.ClientWebSocketResponse


async def use_session(socket: Socket, model: str, chance: random.Random) -> None:
    await socket.send_json({"type": "session.config", "model": model, "response_format": "pcm"})
    for _ in range(chance.randrange(1, 4)):
        text = TEXT * chance.randrange(1, 5)
        for at in range(0, len(text), 40):
            await socket.send_json({"type": "input.text", "text": text[at : at + 40]})
        if chance.random() < 0.3:
            await socket.send_json({"type": "input.done"})
        await read(socket, chance.randrange(20))
        if chance.random() < 0.5:
            await socket.send_json({"type": "input.cancel"})


async def use_contexts(socket: Socket, model: str, chance: random.Random) -> None:
    encoding = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24_000}
    for context in range(chance.randrange(1, 6)):
        voice = {"mode": "id", "id": "alloy"}
        fields = {"context_id": f"c{context}", "model_id": model, "voice": voice, "output_format": encoding}
        await socket.send_json({**fields, "transcript": TEXT * chance.randrange(1, 5), "continue": True})
        await read(socket, chance.randrange(20))
        if chance.random() < 0.5:
            await socket.send_json({"context_id": f"c{context}", "cancel": True})


async def read(socket: Socket, messages: int) -> None:
    """That many messages, or fewer if no more come."""
    for _ in range(messages):
        try:
            async with asyncio.timeout(0.2):
                message = await socket.receive()
        except TimeoutError:
            return
        if message.type is aiohttp.WSMsgType.TEXT:
            assert json.loads(message.data).get("code") != "engine_failure", message.data


WIRES: dict[str, tuple[str, Callable[[Socket, str, random.Random], Awaitable[None]]]] = {
    "speech stream": ("/v1/audio/speech/stream", use_session),
    "Cartesia": ("/tts/websocket?api_key=x", use_contexts),
}


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("wire", WIRES)
def test_five_hundred_random_disconnects_and_cancels_leave_nothing_behind(stack: FakeStack, wire: str) -> None:
    path, use = WIRES[wire]
    chance = random.Random(7)

    async def client(session: aiohttp.ClientSession) -> None:
        socket = await session.ws_connect(f"{stack.frontend.url}{path}")
        try:
            await use(socket, chance.choice((HIBARI.name, QWEN3_TTS_CUSTOM_VOICE.name)), chance)
            if chance.random() < 0.3:
                await socket.close()
        finally:
            if (connection := socket._response.connection) is not None and connection.transport is not None:
                connection.transport.abort()  # without a closing handshake

    async def scenario() -> None:
        async with asyncio.timeout(WAIT_S), aiohttp.ClientSession() as session:
            for _ in range(CLIENTS // AT_ONCE):
                await asyncio.gather(*(client(session) for _ in range(AT_ONCE)))

    files_before = psutil.Process().num_fds()
    asyncio.run(scenario())
    eventually(lambda: stack.frontend.health()["pending_requests"] == 0, "every request is cancelled")
    eventually(lambda: stack.frontend.connections(Phase.ACTIVE) == 0, "no connection is counted")
    eventually(lambda: stack.triton.active == 0, "the models are idle")
    eventually(lambda: psutil.Process().num_fds() <= files_before + 20, "no file is left open")
