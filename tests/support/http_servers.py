"""Small HTTP servers for clients under test: any handler, and a proxy that adds fields to JSON requests."""

import json
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """One request for each connection; not logged."""

    def read_json(self) -> dict[str, Any]:
        return dict(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def start_reply(self, headers: Mapping[str, str]) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None: ...


@contextmanager
def serving(handler: type[Handler]) -> Iterator[str]:
    """The URL of a server on a free port of loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)


@contextmanager
def adding(url: str, fields: Mapping[str, Any], passed: bytearray) -> Iterator[str]:
    """The URL of a proxy of `url` that adds fields to each JSON body; `passed` receives the bodies of its replies."""

    class Proxy(Handler):
        def do_POST(self) -> None:
            body = json.dumps({**self.read_json(), **fields}).encode()
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(f"{url}{self.path}", body, headers)
            with urllib.request.urlopen(request, timeout=60) as reply:
                self.start_reply({name: reply.headers[name] for name in ("content-type", "x-request-id")})
                while data := reply.read1(1 << 16):
                    passed.extend(data)
                    self.wfile.write(data)

    with serving(Proxy) as proxy:
        yield proxy
