"""Who may call: API keys as bearer tokens, and each key's allowance. Without keys everybody may, on one allowance.

As middleware it refuses a request before a byte of its body is read. Every path needs a key but those listed here, so
a route that is added later is closed, not open.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openai_frontend.errors import ApiError
from openai_frontend.limits import Allowance

_OPEN: Final = re.compile(r"/|/health|/live|/ready|/metrics|/static/.*")
_ADMIN: Final = "/admin/"  # its routes have a key of their own
_LISTS: Final = re.compile(r"(/v1)?(/models(/.*)?|/test|/audio/(models|voices|languages))")
_CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}


class KeyRing:
    """The allowances behind the keys; the keys themselves are kept as hashes only."""

    def __init__(self, keys: Iterable[str], requests_per_minute: int, characters_per_minute: int) -> None:
        self._allowances = {
            _digest(key.encode()): Allowance(requests_per_minute, characters_per_minute) for key in keys
        }
        self._anonymous = Allowance(requests_per_minute, characters_per_minute)

    def allowance(self, authorization: str) -> Allowance:
        """The allowance of an Authorization header. Raises ApiError 401 without a valid key where keys are set."""
        if not self._allowances:
            return self._anonymous
        scheme, _, token = authorization.partition(" ")
        given = _digest(token.strip().encode("latin-1"))
        # Every key is compared, each in constant time, so the time tells nothing of how near a guess was.
        found = [allowance for digest, allowance in self._allowances.items() if hmac.compare_digest(digest, given)]
        if scheme.lower() != "bearer" or not found:
            raise _unauthorized(authorization)
        return found[0]


class KeyMiddleware:
    """Refuses requests without a valid key or beyond its limits, and tells of the limits in the headers of a reply.

    Every POST counts as a request; `request.state.allowance` is for the route, which knows the characters.
    """

    def __init__(self, app: ASGIApp, ring: KeyRing, open_lists: bool) -> None:
        self._app = app
        self._ring = ring
        self._open_lists = open_lists

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_open(scope):
            await self._app(scope, receive, send)
            return
        try:
            allowance = self._ring.allowance(Headers(scope=scope).get("authorization", ""))
        except ApiError as error:
            await error.to_response()(scope, receive, send)
            return

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(allowance.headers())
            await send(message)

        scope["state"]["allowance"] = allowance
        try:
            if scope["method"] == "POST":
                allowance.spend_request()
        except ApiError as error:
            await error.to_response()(scope, receive, send_with_limits)
            return
        await self._app(scope, receive, send_with_limits)

    def _is_open(self, scope: Scope) -> bool:
        path = scope["path"]
        if path.startswith(_ADMIN):
            return True
        if scope["method"] not in {"GET", "HEAD"}:
            return False
        return bool(_OPEN.fullmatch(path) or (self._open_lists and _LISTS.fullmatch(path)))


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _unauthorized(authorization: str) -> ApiError:
    said = "This API key is not valid" if authorization else "No API key was sent"
    message = f"{said}. Send one of the server's as `Authorization: Bearer KEY`."
    return ApiError(401, "invalid_api_key", message, headers=_CHALLENGE)
