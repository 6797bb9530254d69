"""A client that reads only the requested amount of a reply."""

import json
import socket
from typing import Any, Final, Self

from tests.support.stack import Frontend

_TIMEOUT_S: Final = 60.0


class SlowReader:
    """POST /v1/audio/speech over a socket with a small window, and nothing in between that would read ahead.

    Made when the reply has begun; HTTP/1.0, so that the body is the audio and nothing else.
    """

    def __init__(self, frontend: Frontend, request: dict[str, Any]) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        self._socket.settimeout(_TIMEOUT_S)
        self._socket.connect(("127.0.0.1", frontend.settings.port))
        payload = json.dumps(request).encode()
        head = f"POST /v1/audio/speech HTTP/1.0\r\nHost: localhost\r\nContent-Length: {len(payload)}\r\n"
        self._socket.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + payload)
        self._file = self._socket.makefile("rb")
        while self._file.readline().strip():
            pass

    def read(self, size: int = -1) -> bytes:
        """The next bytes of the body, or all that are left."""
        return self._file.read(size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()
