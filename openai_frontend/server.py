"""The HTTP server around the app, as every entry point runs it."""

import gc
import socket
import sys
from typing import Final

import uvicorn

from openai_frontend.app import create_app
from openai_frontend.settings import Settings

# Longer than clients and proxies keep a connection: whoever closes first must not be the one who is sent a request.
# OpenAI's client gives one up after 5 s, which is uvicorn's default too, and so would meet a reset now and then.
_KEEP_ALIVE_S: Final = 75
_SWITCH_INTERVAL_S: Final = 0.001


class Server(uvicorn.Server):
    """Serves the API of these settings; told to stop, it lets nobody in and finishes what is under way, in time."""

    def __init__(self, settings: Settings) -> None:
        app = create_app(settings)
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=settings.stop_timeout,
            )
        )
        self._settings = settings

    async def run_until_stopped(self) -> None:
        """Raises OSError where the address can't be had."""
        await self.serve(sockets=[listen(self._settings)])


def tune_interpreter() -> None:
    """For a process that serves and does nothing else: call it when everything is imported and built."""
    # A thread that computes gives the event loop its turn after a millisecond, not five.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    # What is there by now stays: the garbage collector need not look at it again, which takes tens of milliseconds.
    gc.collect()
    gc.freeze()


def listen(settings: Settings) -> socket.socket:
    """The socket at the address of these settings. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
    # With its protocol: only then does asyncio turn Nagle's algorithm off, which holds a reply's second packet back
    # until the client has acknowledged the first, 40 ms later.
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if settings.send_timeout and hasattr(socket, "TCP_USER_TIMEOUT"):
            # Every connection inherits it. Nothing else ends one whose client reads nothing for ever: the server only
            # ever waits for room in its buffers.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(settings.send_timeout * 1000))
        listener.bind(address)
        listener.listen(2048)
    except BaseException:
        listener.close()
        raise
    return listener
