"""Counts every reply by route and status, and logs rejections at a limited rate.

Requests that never reach the app are not counted here: the server itself answers malformed HTTP.
"""

import asyncio
import logging
import re
from collections.abc import Iterable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openai_frontend.observability.metrics import Metrics

logger = logging.getLogger(__name__)

# Statuses that indicate attacks, misconfigured clients or full disks, and rejected recordings.
_LOGGED: Final = {401, 403, 413, 415, 421, 429, 507}
_LOGGED_CODES: Final = {"invalid_reference_audio", "voice_limit_reached"}
# Counters that start at 0, so that the first event is an increase.
_PRIMED: Final = (200, 400, 401, 403, 404, 408, 413, 415, 421, 429, 500, 503, 504, 507)
_INTERVAL_S: Final = 60.0
_OTHER: Final = "other"
_PARAMETER: Final = re.compile(r"\{\w+(:path)?\}")


class Routes:
    """Path templates, as metric labels; `other` for all unknown paths."""

    def __init__(self, templates: Iterable[str]) -> None:
        self.labels = (*dict.fromkeys(templates), _OTHER)
        self._patterns = [(re.compile(_pattern(label)), label) for label in self.labels if "{" in label]
        self._exact = set(self.labels) - {_OTHER}

    def label(self, path: str) -> str:
        """The template of a path; for a path without /v1, that of the same route with it."""
        for candidate in (path, f"/v1{path}"):
            if candidate in self._exact:
                return candidate
            for pattern, label in self._patterns:
                if pattern.fullmatch(candidate):
                    return label
        return _OTHER


class RefusalLog:
    """Logs the first rejection of a kind immediately, then the number of further ones once a minute. For use on the
    event loop."""

    def __init__(self, interval_s: float = _INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._counts: dict[tuple[int, str], int] = {}

    def note(self, status: int, code: str, route: str, client: str) -> None:
        """Record that a request from the address `client` was rejected with `status` and, if known, an error code."""
        if status not in _LOGGED and code not in _LOGGED_CODES:
            return
        kind = (status, code)
        if kind in self._counts:
            self._counts[kind] += 1
            return
        fields = {"status": status, "code": code, "route": route, "client": client}
        logger.warning("refused a request", extra={"fields": {name: value for name, value in fields.items() if value}})
        self._counts[kind] = 0
        self._later(kind)

    def _later(self, kind: tuple[int, str]) -> None:
        asyncio.get_running_loop().call_later(self._interval_s, self._summarize, kind)

    def _summarize(self, kind: tuple[int, str]) -> None:
        count = self._counts.pop(kind)
        if count == 0:
            return
        status, code = kind
        fields = {"status": status, "count": count, "seconds": self._interval_s} | ({"code": code} if code else {})
        logger.warning("refused more requests", extra={"fields": fields})
        self._counts[kind] = 0
        self._later(kind)


class ReplyMiddleware:
    """Counts each reply when its status is sent, and logs it if it is a rejection."""

    def __init__(self, app: ASGIApp, routes: Routes, metrics: Metrics, log: RefusalLog | None = None) -> None:
        self._app = app
        self._routes = routes
        self._replies = metrics.replies
        self._log = log or RefusalLog()
        for label in routes.labels:
            for status in _PRIMED:
                self._replies.labels(label, str(status))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        label = self._routes.label(scope["path"])

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                self._replies.labels(label, str(status)).inc()
                if status >= 400:
                    code = scope.get("state", {}).get("error_code", "")
                    self._log.note(status, code, label, (scope.get("client") or ("",))[0])
            await send(message)

        await self._app(scope, receive, send_counted)


def _pattern(template: str) -> str:
    literals = _PARAMETER.split(template)[::2]
    kinds = [".+" if match[1] else "[^/]+" for match in _PARAMETER.finditer(template)]
    return re.escape(literals[0]) + "".join(
        kind + re.escape(literal) for kind, literal in zip(kinds, literals[1:], strict=True)
    )
