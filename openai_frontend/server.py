"""The HTTP server around the app, as every entry point runs it."""

import socket

import uvicorn

from openai_frontend.app import create_app
from openai_frontend.settings import Settings


class Server(uvicorn.Server):
    """Serves the API of these settings; told to stop, it lets nobody in and finishes what is under way, in time."""

    def __init__(self, settings: Settings) -> None:
        app = create_app(settings)
        super().__init__(
            uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=settings.stop_timeout)
        )
        self._settings = settings

    async def run_until_stopped(self) -> None:
        """Raises OSError where the address can't be had."""
        await self.serve(sockets=[_listen(self._settings)])


def _listen(settings: Settings) -> socket.socket:
    family, kind, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind)
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
