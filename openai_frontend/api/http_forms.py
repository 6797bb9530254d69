"""HEAD requests, and request targets in absolute form."""

from typing import Final
from urllib.parse import unquote, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SCHEMES: Final = ("http://", "https://")


class HeadMiddleware:
    """Answers HEAD like GET without the body, wherever GET works."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            is_body = message["type"] == "http.response.body"
            await send({**message, "body": b""} if is_body else message)

        await self._app({**scope, "method": "GET"}, receive, send_without_body)


class AbsoluteTargetMiddleware:
    """Serves `GET http://host/path` as `GET /path` with that host, as RFC 9112 (3.2.2) requires."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].lower().startswith(_SCHEMES):
            scope = _in_origin_form(scope)
        await self._app(scope, receive, send)


def _in_origin_form(scope: Scope) -> Scope:
    target = scope["raw_path"].decode("ascii", "replace")
    try:
        parts = urlsplit(target)
    except ValueError:  # brackets without an IPv6 address
        return scope
    path = parts.path or "/"
    others = [(name, value) for name, value in scope["headers"] if name != b"host"]
    headers = [(b"host", parts.netloc.encode("ascii", "replace")), *others]
    return {**scope, "path": unquote(path), "raw_path": path.encode(), "headers": headers}
