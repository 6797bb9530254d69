"""JSON messages over a WebSocket: received within a time-out, and sent within one."""

import asyncio
import json
from contextlib import suppress
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect

UNSUPPORTED_DATA: Final = 1003
INVALID_PAYLOAD: Final = 1007


class MessageError(Exception):
    """The client sent an invalid message: close the connection with `code`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Messages:
    """The messages of one connection; any number of tasks may send. `send_timeout_s` 0: no limit."""

    def __init__(self, websocket: WebSocket, send_timeout_s: float) -> None:
        self._websocket, self._send_timeout_s = websocket, send_timeout_s
        self._sending = asyncio.Lock()

    async def receive(self, timeout_s: float | None = None) -> dict[str, Any]:
        """The next message, a JSON object. Raises MessageError, and WebSocketDisconnect."""
        try:
            async with asyncio.timeout(timeout_s):
                event = await self._websocket.receive()
        except TimeoutError:
            raise MessageError(INVALID_PAYLOAD, f"No message arrived for {timeout_s:g} s.") from None
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event.get("code", 1005))
        if event.get("text") is None:
            raise MessageError(UNSUPPORTED_DATA, "Binary messages are not accepted. Send JSON as text.")
        try:
            message = json.loads(event["text"])
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise MessageError(INVALID_PAYLOAD, "A message is a JSON object. Send one.")
        return message

    async def send(self, message: dict[str, Any] | bytes) -> None:
        """Send a message. Raises ConnectionError if the client reads nothing for too long, or has disconnected."""
        async with self._sending:
            try:
                async with asyncio.timeout(self._send_timeout_s or None):
                    if isinstance(message, bytes):
                        await self._websocket.send_bytes(message)
                    else:
                        await self._websocket.send_text(json.dumps(message))
            except (TimeoutError, RuntimeError, WebSocketDisconnect) as error:
                raise ConnectionError("the client reads nothing, or has disconnected") from error

    async def close(self, code: int = 1000) -> None:
        """Close the connection, unless the client already has."""
        with suppress(RuntimeError):
            await self._websocket.close(code)
