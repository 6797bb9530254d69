"""Authentication: API keys as bearer tokens, each with an allowance and an owner id. Without keys, all clients share
one allowance.

As middleware it rejects a request before its body is read. Every path needs a key except those listed here, so a new
route is closed by default.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final, cast

from fastapi import Depends, Request
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openai_frontend.api.rate_limits import Allowance
from openai_frontend.errors import ApiError

_OPEN: Final = re.compile(r"/|/health|/live|/ready|/metrics|/static/.*")
_ADMIN: Final = "/admin/"  # its routes check their own key
_LISTS: Final = re.compile(r"(/v1)?(/models(/.*)?|/test|/audio/(models|voices|languages))")
_KEY_PROTOCOL: Final = "bearer.base64url."
CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}
# Length of an owner id, the start of a key's SHA-256, also in the metadata of voices and consents.
_OWNER_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request: the start of its key's SHA-256, None if no key is required; and the key's allowance."""

    owner: str | None
    allowance: Allowance


class ApiKeys:
    """The callers of all keys; the keys themselves are stored as hashes only."""

    def __init__(self, keys: Iterable[str], requests_per_minute: int, characters_per_minute: int) -> None:
        limits = requests_per_minute, characters_per_minute
        digests = (_digest(key.encode()) for key in keys)
        self._callers = {digest: Caller(digest.hex()[:_OWNER_DIGITS], Allowance(*limits)) for digest in digests}
        self._anonymous = Caller(None, Allowance(*limits))

    def caller(self, authorization: str) -> Caller:
        """The caller of an Authorization header. Raises ApiError 401 without a valid key if keys are set."""
        if not self._callers:
            return self._anonymous
        given = _digest(bearer_token(authorization))
        # Every key is compared, each in constant time, so that the time reveals nothing about a guess.
        found = [caller for digest, caller in self._callers.items() if hmac.compare_digest(digest, given)]
        if not found:
            raise _unauthorized(authorization)
        return found[0]


class KeyMiddleware:
    """Rejects requests without a valid key or beyond its limits, and reports the limits in the headers of a reply.

    Every POST and every WebSocket counts as a request. For the routes it sets `request.state.caller`; None for an open
    list that was requested without a valid key.
    """

    def __init__(self, app: ASGIApp, api_keys: ApiKeys, open_lists: bool) -> None:
        self._app = app
        self._api_keys = api_keys
        self._open_lists = open_lists

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._is_open(scope):
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        try:
            caller = self._api_keys.caller(_authorization(scope))
        except ApiError as error:
            if self._is_open_list(scope):
                state["caller"] = None
                await self._app(scope, receive, send)
            else:
                await error.answer(scope, receive, send)
            return
        allowance = caller.allowance

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(allowance.headers())
            await send(message)

        state["caller"] = caller
        try:
            if scope.get("method", "POST") == "POST":
                allowance.spend_request()
        except ApiError as error:
            await error.answer(scope, receive, send_with_limits)
            return
        await self._app(scope, receive, send_with_limits)

    def _is_open(self, scope: Scope) -> bool:
        path = scope["path"]
        if path.startswith(_ADMIN):
            return bool(scope["type"] == "http")
        return _is_read(scope) and bool(_OPEN.fullmatch(path))

    def _is_open_list(self, scope: Scope) -> bool:
        return self._open_lists and _is_read(scope) and bool(_LISTS.fullmatch(scope["path"]))


def _authorization(scope: Scope) -> str:
    """The Authorization header; for a WebSocket also the header or query parameter in which Cartesia's clients send a
    key, and the subprotocol in which pages do: browsers can't send other headers."""
    headers = Headers(scope=scope)
    if (given := headers.get("authorization", "")) or scope["type"] != "websocket":
        return given
    query = QueryParams(scope.get("query_string", b""))
    key = headers.get("x-api-key") or query.get("api_key") or _key_of(scope.get("subprotocols", ()))
    return f"Bearer {key}" if key else ""


def _key_of(subprotocols: Iterable[str]) -> str:
    """The key in a subprotocol, in base64url without padding, as a subprotocol has no other characters."""
    encoded = next((name[len(_KEY_PROTOCOL) :] for name in subprotocols if name.startswith(_KEY_PROTOCOL)), "")
    try:
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except ValueError:
        return ""


def _is_read(scope: Scope) -> bool:
    return scope.get("method") in {"GET", "HEAD"}  # a WebSocket has no method


def bearer_token(authorization: str) -> bytes:
    """The token of an Authorization header, unchanged; empty if it is not `Bearer` and a token."""
    scheme, _, token = authorization.partition(" ")
    return token.strip().encode("latin-1") if scheme.lower() == "bearer" else b""


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _unauthorized(authorization: str) -> ApiError:
    said = "This API key is not valid" if authorization else "No API key was sent"
    message = f"{said}. Send one of the server's as `Authorization: Bearer KEY`."
    return ApiError(401, "invalid_api_key", message, headers=CHALLENGE)


def _caller(request: Request) -> Caller:
    return cast(Caller, request.state.caller)


def _owner(request: Request) -> str | None:
    caller = cast(Caller | None, request.state.caller)
    return caller.owner if caller else None


def _names_only(request: Request) -> bool:
    return request.state.caller is None


CurrentCaller = Annotated[Caller, Depends(_caller)]
Owner = Annotated[str | None, Depends(_owner)]
# True for an open list that was requested without a valid key.
NamesOnly = Annotated[bool, Depends(_names_only)]
