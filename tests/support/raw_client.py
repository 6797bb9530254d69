"""A client that sends raw bytes, and observes the server's handling of the connection."""

import json
import select
import socket
from dataclasses import dataclass
from typing import Any, Final, Self

from tests.support.stack import Frontend

_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True)
class RawReply:
    """A reply as it came: `head` in lower case, without the final empty line."""

    status: int
    head: str
    body: bytes

    def code(self) -> str:
        """The error code, of a reply in OpenAI's shape."""
        error = json.loads(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return str(error["code"])


class RawClient:
    """One connection to a frontend, or to a port of loopback."""

    def __init__(self, server: Frontend | int, data: bytes = b"") -> None:
        port = server if isinstance(server, int) else server.settings.port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S)
        self._file = self.socket.makefile("rb")
        self.send(data)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def end_sending(self) -> None:
        """Half-close: nothing more comes, the reply is still read."""
        self.socket.shutdown(socket.SHUT_WR)

    def read_reply(self) -> RawReply:
        """The next reply, without interim ones (1xx). Fails if the server closes the connection instead."""
        while True:
            lines = []
            while line := self._file.readline().strip():
                lines.append(line.decode())
            assert lines, "closed without a reply"
            status = int(lines[0].split()[1])
            if status >= 200:
                return RawReply(status, "\n".join(lines).lower(), self._read_body("\n".join(lines).lower()))

    def _read_body(self, head: str) -> bytes:
        for line in head.split("\n"):
            name, _, value = line.partition(":")
            if name == "content-length":
                return self._file.read(int(value))
            if name == "transfer-encoding":
                return b"".join(self._chunks())
        return self._file.read()

    def _chunks(self) -> list[bytes]:
        chunks = []
        while size := int(self._file.readline(), 16):
            chunks.append(self._file.read(size))
            self._file.readline()
        return chunks

    def is_closed(self) -> bool:
        """Wait until the server sends something or closes; whether it closed."""
        try:
            return self._file.read(1) == b""
        except ConnectionError:
            return True

    def has_data(self) -> bool:
        """Whether the server has sent something, or closed."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def post(path: str, body: bytes, *headers: str, content_type: str = "application/json", length: int = -1) -> bytes:
    """A request as it goes over the wire; `length` is what it says of its body, if that is not the truth."""
    declared = len(body) if length < 0 else length
    lines = (f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {content_type}", f"Content-Length: {declared}")
    return "\r\n".join((*lines, *headers, "", "")).encode() + body


def speech(**fields: Any) -> bytes:
    """A request to speak."""
    return post("/v1/audio/speech", json.dumps({"input": "Hello.", "response_format": "pcm", **fields}).encode())
