"""ASGI middleware: a request id for every reply, and limits on request bodies.

Plain ASGI, since BaseHTTPMiddleware buffers streams and hides disconnects.
"""

import re
import time
import uuid
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openai_frontend.api.bodies.memory import BodyMemory
from openai_frontend.errors import ApiError, compressed, too_large
from openai_frontend.observability.tracing import incoming

_SANE_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestIdMiddleware:
    """Adds `x-request-id` (the client's own if it is valid) and `openai-processing-ms` to every reply, and disables
    content-type sniffing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _SANE_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"
        scope.setdefault("state", {})["request_id"] = request_id
        incoming.set(Headers(scope=scope).get("traceparent", ""))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers["x-content-type-options"] = "nosniff"
                headers["openai-processing-ms"] = str(round((time.perf_counter() - begin) * 1000))
            await send(message)

        await self._app(scope, receive, send_with_id)


class BodyLimitMiddleware:
    """Rejects a body over `limit_bytes` with 413, by its Content-Length or as soon as that much has arrived, and with
    503 if `memory` is exhausted."""

    def __init__(self, app: ASGIApp, limit_bytes: int, memory: BodyMemory) -> None:
        self._app = app
        self._limit_bytes = limit_bytes
        self._memory = memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
            await compressed(headers["content-encoding"]).answer(scope, receive, send)
            return
        try:
            self._memory.check(self._declared_bytes(headers))
        except ApiError as error:
            await error.to_response()(scope, receive, send)
            return
        with self._memory.lease() as lease:
            received = 0

            async def receive_bounded() -> Message:
                nonlocal received
                message = await receive()
                if size := len(message.get("body", b"")):
                    received += size
                    if received > self._limit_bytes:
                        raise too_large(self._limit_bytes)
                    lease.take(size)
                return message

            async def send_and_release(message: Message) -> None:
                if message["type"] == "http.response.start":
                    lease.release()
                await send(message)

            await self._app(scope, receive_bounded, send_and_release)

    def _declared_bytes(self, headers: Headers) -> int:
        """Content-Length, 0 without one. Raises ApiError if it is too large or ambiguous."""
        declared = headers.get("content-length", "0")
        if "transfer-encoding" in headers and "content-length" in headers:
            # Servers may disagree on if such a request ends and the next one begins.
            message = "The request has both Content-Length and Transfer-Encoding. Send one of them."
            raise ApiError(400, "invalid_http", message, headers={"Connection": "close"})
        if declared.isdigit() and int(declared) > self._limit_bytes:
            raise too_large(self._limit_bytes)
        return int(declared) if declared.isdigit() else 0
