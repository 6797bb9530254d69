"""Routes that read their bodies in pieces, in memory, and only while the client is connected."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Final

from fastapi import Request, Response, params
from fastapi.routing import APIRoute
from starlette.formparsers import MultiPartParser
from starlette.requests import ClientDisconnect

from openai_frontend.api.bodies.disconnect import unless_disconnected
from openai_frontend.api.bodies.json_body import missing_body, read_json
from openai_frontend.api.bodies.media_types import FORMS, is_json, media_type

_URLENCODED: Final = "application/x-www-form-urlencoded"
_MAX_FIELDS: Final = 32
_MAX_FIELD_BYTES: Final = 1024 * 1024
_MAX_URLENCODED_BYTES: Final = 32 * 1024
# The amount parsed before other connections are served.
_PIECE_BYTES: Final = 16 * 1024
_UNREAD: Final = object()
# Files stay in memory, which is limited for all bodies together; a temporary file would need disk space, and a thread
# of the encoders' pool.
MultiPartParser.spool_max_size = 2**62


class BodyRequest(Request):
    """A request whose JSON is parsed within limits, and whose bytes are released after parsing."""

    _value: Any = _UNREAD

    async def stream(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(super().stream()) as stream:
            async for data in stream:
                for start in range(0, len(data), _PIECE_BYTES):
                    yield data[start : start + _PIECE_BYTES]
                    await asyncio.sleep(0)
        yield b""

    async def body(self) -> bytes:
        """Not the bytes, which are already parsed: callers only check whether there are any."""
        has_body = self.headers.get("content-length", "0") != "0" or "transfer-encoding" in self.headers
        return b"-" if has_body else b""

    async def json(self) -> Any:
        if self._value is _UNREAD:
            raise missing_body()
        return self._value

    async def read_json(self) -> None:
        """Read and parse the whole body as JSON. Raises as `json_body.read_json` does."""
        self._value = await read_json(self.stream(), self.app.state.speech.pools.json)

    async def read_form(self) -> None:
        """Read and parse the whole body as a form."""
        size = _MAX_URLENCODED_BYTES if media_type(self) == _URLENCODED else _MAX_FIELD_BYTES
        await self.form(max_files=_MAX_FIELDS, max_fields=_MAX_FIELDS, max_part_size=size)


class BodyRoute(APIRoute):
    """A route with a body. It reads the body before FastAPI does, which reports every read failure as an invalid
    request. The work is cancelled when the client disconnects.

    A route without a declared body accepts forms and JSON. A body of an unsupported type is left unread.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        declared = self.body_field.field_info if self.body_field else None
        takes_form = declared is None or isinstance(declared, params.Form)
        takes_json = declared is None or not takes_form

        async def handle(request: Request) -> Response:
            if request.method not in {"POST", "PUT", "PATCH"}:
                return await answer(request)
            parsed = BodyRequest(request.scope, request.receive)
            try:
                if takes_form and media_type(parsed) in FORMS:
                    await parsed.read_form()
                elif takes_json and is_json(media_type(parsed)):
                    await parsed.read_json()
            except ClientDisconnect:
                return Response(status_code=499)  # the client has disconnected
            response = await unless_disconnected(parsed, answer(parsed))
            return Response(status_code=499) if response is None else response

        return handle
