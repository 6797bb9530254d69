"""Protection against cross-site requests: the Host header and the origin of each request.

Pages of other origins can send requests that need no preflight (forms, `text/plain`), and, with DNS rebinding, requests
under their own host name. Clients other than browsers send neither `Origin` nor `Sec-Fetch-Site` and are unaffected.
"""

import ipaddress
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from openai_frontend.errors import ApiError

_SAFE_METHODS: Final = {"GET", "HEAD", "OPTIONS"}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_ANY: Final = "*"


class HostMiddleware:
    """Rejects requests for another host with 421.

    `allowed` contains names, `*.example` for every name below one, or `*`. If it is empty, `loopback` decides: if only
    this machine can connect, only its own names and addresses are accepted; otherwise every host is. Loopback names and
    addresses are always accepted. If other machines can connect, so is every IP address, since probes and scrapers use
    addresses and DNS rebinding needs a name.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str], loopback: bool) -> None:
        self._app = app
        self._names = {_host_name(name) for name in allowed}
        self._suffixes = tuple(name.removeprefix("*") for name in self._names if name.startswith("*."))
        self._any = _ANY in self._names or not (self._names or loopback)
        self._loopback = loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._is_allowed(Headers(scope=scope).get("host", "")):
            await self._app(scope, receive, send)
            return
        await _wrong_host().answer(scope, receive, send)

    def _is_allowed(self, host: str) -> bool:
        if self._any or not host:  # HTTP/1.0 has none; browsers always send one
            return True
        name = _host_name(host)
        if is_loopback(name) or name in self._names or name.endswith(self._suffixes):
            return True
        return not self._loopback and _address(name) is not None


class OriginMiddleware:
    """Rejects requests of pages of another origin with 403, unless the origin is in `allowed`. Lists and files may be
    requested, since such a page cannot read the reply without CORS headers."""

    def __init__(self, app: ASGIApp, allowed: Collection[str]) -> None:
        self._app = app
        self._allowed = set(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A WebSocket has no method, and needs no preflight.
        safe = scope["type"] == "lifespan" or scope.get("method") in _SAFE_METHODS
        if safe or self._is_allowed(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        await _cross_origin().answer(scope, receive, send)

    def _is_allowed(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if _ANY in self._allowed or origin in self._allowed:
            return True
        # Set by the browser, a page cannot change it; it also works behind a proxy that changes the Host header. `none`
        # is a user action, not a page. Browsers omit it for plain HTTP over a network.
        if site := headers.get("sec-fetch-site"):
            return site in {"same-origin", "none"}
        if origin is None:
            return True
        # A page cannot set X-Forwarded-Host without a preflight, which is rejected.
        here = (headers.get("host"), headers.get("x-forwarded-host", "").partition(",")[0].strip())
        return any(host and _is_same(origin, host) for host in here)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine: localhost, *.localhost, 127.0.0.0/8 or ::1."""
    name = host.lower().rstrip(".")
    address = _address(name)
    return name == "localhost" or name.endswith(".localhost") or (address is not None and address.is_loopback)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def _host_name(host: str) -> str:
    """The name or address of a Host header, without the port."""
    name, colon, port = host.rpartition(":")
    found = name if colon and port.isdigit() else host.removesuffix(":")
    return found.lower().rstrip(".")


def _is_same(origin: str, host: str) -> bool:
    """Whether a page of `origin` was served under the Host header `host`. The scheme is the origin's, since a proxy may
    have terminated TLS."""
    try:
        page = urlsplit(origin)
        server = urlsplit(f"{page.scheme}://{host}")
        default = _DEFAULT_PORTS.get(page.scheme)
        return (
            page.hostname is not None
            and page.hostname == server.hostname
            and (page.port or default) == (server.port or default)
        )
    except ValueError:
        return False


def _wrong_host() -> ApiError:
    message = (
        "This server does not answer to the host name of this request. Add the name to ALLOWED_HOSTS on the server."
    )
    return ApiError(421, "host_not_allowed", message)


def _cross_origin() -> ApiError:
    message = "A page of another origin sent this request. Add its origin to CORS_ORIGINS on the server to allow it."
    return ApiError(403, "origin_not_allowed", message)
