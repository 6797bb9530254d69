"""A client of `WS /v1/audio/speech/stream`."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiohttp

from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_BYTES

WAIT_S: Final = 60
FRAME_BYTES: Final = FRAME_SAMPLES * SAMPLE_BYTES


class Client:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.audio = b""
        self.words: list[dict[str, Any]] = []

    async def say(self, text: str, *then: dict[str, Any]) -> None:
        for message in ({"type": "input.text", "text": text}, *then):
            await self._socket.send_json(message)

    async def until(self, kind: str) -> dict[str, Any]:
        while True:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                self.audio += message.data
                continue
            fields: dict[str, Any] = json.loads(message.data)
            self.words += fields.get("timestamps", ())
            if fields["type"] == kind:
                return fields

    async def is_silent_for(self, seconds: float) -> bool:
        """Whether the connection stays open and the server sends nothing, but for what it had begun to send."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = await self._socket.receive()
                    if message.type is aiohttp.WSMsgType.BINARY:
                        self.audio += message.data
                    elif message.type is not aiohttp.WSMsgType.TEXT:
                        return False
        except TimeoutError:
            return True

    async def spoken(self, words: int) -> None:
        """Wait for the audio of that many words, except for what the end may still cut."""
        while len(self.audio) < (words - 4) * FRAME_BYTES:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                self.audio += message.data
            else:
                assert json.loads(message.data)["type"] != "error", message.data


def converse(url: str, model: str, scenario: Callable[[Client], Awaitable[None]], **config: object) -> Client:
    async def bounded() -> Client:
        async with (
            asyncio.timeout(WAIT_S),
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{url}/v1/audio/speech/stream") as socket,
        ):
            await socket.send_json({"type": "session.config", "model": model, "response_format": "pcm", **config})
            client = Client(socket)
            await scenario(client)
            return client

    return asyncio.run(bounded())
