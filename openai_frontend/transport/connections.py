"""Limits on the connections of a server: their number, and the time that each may take to send a request.

Every connection is in one phase; each phase keeps its connections in order of entry, so that the oldest is found
immediately. One timer checks them all.
"""

import asyncio
import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from openai_frontend.observability.logs import OncePerInterval
from openai_frontend.settings import Settings
from openai_frontend.transport.file_limit import connection_limit

logger = logging.getLogger(__name__)

# Beyond the limit: connections that are answered with 503, and closed ones that are drained so that the reply arrives.
MAX_REFUSED: Final = 16
MAX_LINGERING: Final = 32
LINGER_S: Final = 2.0
# A body may take BODY_TIMEOUT plus one second for this many bytes: 256 kbit/s.
MIN_BODY_BYTES_PER_S: Final = 32 * 1024
_LONGEST_TICK_S: Final = 1.0


class Phase(enum.StrEnum):
    """The state of a connection."""

    HEAD = "head"
    """It has not sent the headers of its first request, or has begun those of a later one."""
    IDLE = "idle"
    """Its last request was answered, and it is kept open."""
    BODY = "body"
    """It is sending the body of a request."""
    ACTIVE = "active"
    """It has sent a request and is receiving the reply."""
    REFUSED = "refused"
    """It is over the limit: its request gets 503."""
    LINGER = "linger"
    """It is closed on our side; incoming data is discarded."""


class Closed(enum.StrEnum):
    """Why a connection was closed by a limit."""

    EVICTED = "evicted"
    REFUSED = "refused"
    HEADER_TIMEOUT = "header_timeout"
    BODY_TIMEOUT = "body_timeout"


_ADMITTED: Final = (Phase.HEAD, Phase.IDLE, Phase.BODY, Phase.ACTIVE)


class Connection(Protocol):
    """A connection, as the limits need it."""

    phase: Phase
    since_s: float
    """The time of entry into its phase, by the loop's clock."""

    def abort(self) -> None:
        """Close it immediately, with any request in flight."""

    def refuse(self) -> None:
        """Answer its requests with 503."""

    def head_timed_out(self) -> None:
        """Its headers took too long."""

    def body_timed_out(self, now_s: float) -> None:
        """Close it if its body is late."""

    def check_peer(self) -> None:
        """Abort it if its peer, which has closed its sending side, has closed the other side, too."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Times in seconds, and numbers; a time of 0 is no limit."""

    max_connections: int
    header_timeout_s: float
    body_timeout_s: float

    @classmethod
    def from_settings(cls, settings: Settings) -> "ConnectionLimits":
        """The limits of the settings, within the process's limit on open files, which is raised if possible."""
        most = connection_limit(settings.max_connections, settings.max_pending_requests)
        return cls(most, settings.header_timeout, settings.body_timeout)


class Connections:
    """The connections of one server."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._phases: dict[Phase, dict[Connection, None]] = {phase: {} for phase in Phase}
        self._half_closed: dict[Connection, None] = {}
        self._warn = OncePerInterval(logger)
        self.report: Callable[[Closed], None] = lambda _: None

    def __len__(self) -> int:
        """The number of admitted connections: neither refused nor closed."""
        return sum(len(self._phases[phase]) for phase in _ADMITTED)

    def count(self, phase: Phase) -> int:
        """The number of connections in a phase."""
        return len(self._phases[phase])

    def opened(self, connection: Connection, now_s: float) -> None:
        """Register a new connection. At the limit, the oldest one without a request in progress is closed for it; if
        there is none, the new one is refused."""
        if len(self) >= self.limits.max_connections:
            oldest = self._oldest(Phase.HEAD) or self._oldest(Phase.IDLE)
            if oldest is None:
                self._warn("all of the %d connections are in use; new ones get 503", self.limits.max_connections)
                self._bounded(Phase.REFUSED, MAX_REFUSED)
                self._enter(connection, Phase.REFUSED, now_s)
                connection.refuse()
                self.report(Closed.REFUSED)
                return
            self._warn("%d connections; the oldest without a request are closed", self.limits.max_connections)
            self.closed(oldest)
            oldest.abort()
            self.report(Closed.EVICTED)
        self._enter(connection, Phase.HEAD, now_s)

    def move(self, connection: Connection, phase: Phase, now_s: float) -> None:
        """Move the connection to a phase. No effect if it is already there, or closed."""
        if connection.phase is phase or connection not in self._phases[connection.phase]:
            return
        if phase is Phase.LINGER:
            self._bounded(Phase.LINGER, MAX_LINGERING)
        del self._phases[connection.phase][connection]
        self._enter(connection, phase, now_s)

    def half_closed(self, connection: Connection) -> None:
        """The peer has closed its sending side: it waits for a reply, or has disconnected."""
        self._half_closed[connection] = None

    def closed(self, connection: Connection) -> None:
        """Unregister a connection. Idempotent."""
        self._phases[connection.phase].pop(connection, None)
        self._half_closed.pop(connection, None)

    async def watch(self) -> None:
        """Enforce the time limits until cancelled."""
        times = (self.limits.header_timeout_s, self.limits.body_timeout_s, 4 * _LONGEST_TICK_S)
        tick_s = min(limit for limit in times if limit) / 4
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(tick_s)
            self.sweep(loop.time())

    def sweep(self, now_s: float) -> None:
        """Close the connections that are late at `now_s`."""
        if self.limits.header_timeout_s:
            for phase in (Phase.HEAD, Phase.REFUSED):
                self._expire(phase, now_s - self.limits.header_timeout_s, lambda late: late.head_timed_out())
        if self.limits.body_timeout_s:
            for connection in list(self._phases[Phase.BODY]):
                connection.body_timed_out(now_s)
        self._expire(Phase.LINGER, now_s - LINGER_S, lambda late: late.abort())
        for connection in list(self._half_closed):
            connection.check_peer()

    def _expire(self, phase: Phase, before_s: float, close: Callable[[Connection], None]) -> None:
        late = []
        for connection in self._phases[phase]:
            if connection.since_s > before_s:
                break  # they are in order of age
            late.append(connection)
        for connection in late:
            close(connection)

    def _oldest(self, phase: Phase) -> Connection | None:
        return next(iter(self._phases[phase]), None)

    def _bounded(self, phase: Phase, limit: int) -> None:
        oldest = self._oldest(phase)
        if oldest is not None and len(self._phases[phase]) >= limit:
            self.closed(oldest)
            oldest.abort()

    def _enter(self, connection: Connection, phase: Phase, now_s: float) -> None:
        connection.phase, connection.since_s = phase, now_s
        self._phases[phase][connection] = None
