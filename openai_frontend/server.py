"""The HTTP server around the app, shared by every entry point."""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import socket
import sys
from functools import partial
from typing import Any, Final

import uvicorn

from openai_frontend.app import create_app
from openai_frontend.observability.logs import OncePerInterval, SeldomWarnings
from openai_frontend.settings import Settings
from openai_frontend.transport.connections import ConnectionLimits, Connections
from openai_frontend.transport.http_protocol import HttpProtocol

logger = logging.getLogger(__name__)

# Longer than clients and proxies keep a connection: they must close first, or a request may reach a closed connection.
# OpenAI's client closes after 5 s, which is also uvicorn's default, so with that it would get an occasional reset.
_KEEP_ALIVE_S: Final = 75
# Keep-alive probes for idle connections: a peer that has disappeared is detected after two minutes.
_PROBES: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
# Connections are accepted in batches, so that the limit is checked in between.
_ACCEPTED_AT_ONCE: Final = 16
_OUT_OF_FILES: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_SWITCH_INTERVAL_S: Final = 0.001
# The maximum size of a WebSocket message: several pages of text.
_MAX_WEBSOCKET_BYTES: Final = 128 * 1024


class Server(uvicorn.Server):
    """Serves the API; on shutdown it refuses new connections and finishes requests in flight within the time-out."""

    def __init__(self, settings: Settings) -> None:
        uvicorn_logger = logging.getLogger("uvicorn.error")
        if not any(isinstance(filtering, SeldomWarnings) for filtering in uvicorn_logger.filters):
            uvicorn_logger.addFilter(SeldomWarnings())
        self.connections = Connections(ConnectionLimits.from_settings(settings))
        super().__init__(
            uvicorn.Config(
                create_app(settings, self.connections),
                http=partial(HttpProtocol, connections=self.connections),  # type: ignore[arg-type]
                ws="wsproto",
                ws_max_size=_MAX_WEBSOCKET_BYTES,
                log_config=None,
                access_log=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=settings.stop_timeout,
            )
        )
        self._settings = settings

    async def run_until_stopped(self) -> None:
        """Raises OSError if the address is unavailable."""
        watch = asyncio.create_task(self.connections.watch())
        try:
            await self.serve(sockets=[listen(self._settings)])
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch


class Listener(socket.socket):
    """A listening socket that never raises for lack of file descriptors: it closes the connection instead.

    asyncio would log a traceback for each entry of its backlog and accept nothing for a second.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._accepted = 0
        self._warn = OncePerInterval(logger)
        self._spare = os.open(os.devnull, os.O_RDONLY)

    def accept(self) -> tuple[socket.socket, Any]:
        """Raises BlockingIOError if no connection is pending, and at intervals to let the caller yield."""
        self._accepted += 1
        if self._accepted % (_ACCEPTED_AT_ONCE + 1) == 0:
            raise BlockingIOError
        try:
            return super().accept()
        except OSError as error:
            if error.errno in _OUT_OF_FILES:
                self._warn("no file is left for a new connection (%s); it is closed", os.strerror(error.errno or 0))
                self._close_one()
                raise BlockingIOError from None
            raise

    def close(self) -> None:
        super().close()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    def _close_one(self) -> None:
        """Accept the first pending connection with the reserved file descriptor, and close it."""
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        try:
            super().accept()[0].close()
        except OSError:
            logger.debug("no connection could be closed")
        finally:
            # Another thread may have taken the descriptor in the meantime; the next call reserves a new one.
            with contextlib.suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY)


def tune_interpreter() -> None:
    """Tune a process that only serves: call it when everything is imported and built."""
    # A computing thread yields to the event loop after one millisecond, not five.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    # Existing objects are permanent: exclude them from garbage collection, which takes tens of milliseconds.
    gc.collect()
    gc.freeze()


def listen(settings: Settings) -> Listener:
    """The listening socket for these settings. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
    # With its protocol number: only then does asyncio disable Nagle's algorithm, which holds a reply's second packet
    # back until the client has acknowledged the first, 40 ms later.
    listener = Listener(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _PROBES.items():
            if hasattr(socket, option):
                listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        if settings.send_timeout and hasattr(socket, "TCP_USER_TIMEOUT"):
            # Inherited by every connection. Without it, a connection whose client never reads would never end, since
            # the server only waits for buffer space.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(settings.send_timeout * 1000))
        listener.bind(address)
        listener.listen(2048)
    except BaseException:
        listener.close()
        raise
    return listener
