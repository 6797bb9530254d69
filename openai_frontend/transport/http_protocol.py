"""One HTTP/1.1 connection: uvicorn's h11 protocol with deadlines, a bounded close, and half-closed clients.

A client that closes its sending side has either disconnected or waits for the reply; TCP does not distinguish them. So
the server continues the request and sends an interim reply, `100 Continue`, which HTTP/1.1 clients ignore: a peer that
has closed its socket responds with a reset, and then its request is cancelled. A client that closes its sending side
after the reply has begun has disconnected: a client that only ends its request does so earlier.
"""

from __future__ import annotations

import asyncio
import json
import select
from collections import deque
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

import h11
from starlette.types import Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from openai_frontend.errors import ApiError
from openai_frontend.transport.connections import MIN_BODY_BYTES_PER_S, Closed, Connections, Phase
from openai_frontend.transport.websocket_protocol import WebSocketProtocol

# An unread body up to this size is read to its end, so that the connection can be reused.
_DRAINED_BYTES: Final = 64 * 1024
# Parsing time grows with the number of lines: a chunk of a body is two, a header is one. This many take about a
# millisecond.
_MAX_LINES: Final = 256
_SLICE_BYTES: Final = 1024
# Soon after the interim reply: a reset takes one round trip.
_CHECK_PEER_S: Final = 0.1
_ALWAYS_ANSWERED: Final = {"/live", "/metrics"}
_CLOSE: Final = (b"connection", b"close")


class HttpProtocol(H11Protocol):
    """A connection within the limits of `connections`."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        connections: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.phase = Phase.HEAD
        self.since_s = 0.0
        self._bounds = connections
        self._served = self.app
        self.app = self._closing_after_an_unread_body
        self._body_bytes = 0
        self._declared_bytes: int | None = None
        self._last_byte_s = 0.0
        self._eof = False
        self._upgraded = False  # to a WebSocket, which has no body
        self._slices: deque[bytes] = deque()

    # Called by asyncio.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_Transport(transport, self))
        self._bounds.opened(self, self.loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        self._bounds.closed(self)
        self._slices.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.phase is Phase.LINGER:
            return
        self._last_byte_s = self.loop.time()
        if self.phase is Phase.IDLE:
            self._move(Phase.HEAD)
        if data.count(b"\n") <= _MAX_LINES and not self._slices:
            self._parse(data)
            return
        # Many lines in few bytes, such as chunks of one byte each: parse a few at a time.
        waiting = bool(self._slices)
        self._slices.extend(data[start : start + _SLICE_BYTES] for start in range(0, len(data), _SLICE_BYTES))
        self._own_transport.hold()
        if not waiting:
            self._parse_next_slice()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        if self.phase is not Phase.ACTIVE or self.cycle is None or self.cycle.response_complete:
            return None  # no request, or one that will never be complete
        if self.cycle.response_started:
            return None
        if not self._eof:
            self._eof = True
            self._bounds.half_closed(self)
            self._probe_peer()
        return True

    # Called by uvicorn.

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection over; it counts as serving a request until it is closed."""
        self._move(Phase.ACTIVE)
        self._upgraded = True
        self.connections.discard(self)
        protocol = WebSocketProtocol(
            config=self.config,
            server_state=self.server_state,
            app_state=self.app_state,
            on_lost=lambda: self._bounds.closed(self),
        )
        head = [b"%b %b HTTP/1.1\r\n" % (event.method, event.target)]
        head += [b"%b: %b\r\n" % (name, value) for name, value in self.headers]
        inner = self._own_transport.inner
        protocol.connection_made(inner)
        protocol.data_received(b"".join(head) + b"\r\n" + self.conn.trailing_data[0])
        inner.set_protocol(protocol)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._follow()
        if self._eof and self.phase is not Phase.ACTIVE:
            self._own_transport.really_close()

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._answer(ApiError(400, "invalid_http", f"{msg} Send HTTP/1.1."))
        else:
            self.transport.close()

    def shutdown(self) -> None:
        if self.phase is Phase.LINGER:
            self.abort()
        else:
            super().shutdown()

    # Called by the limits.

    def abort(self) -> None:
        self.transport.abort()

    def refuse(self) -> None:
        self._served = self._refusing

    def head_timed_out(self) -> None:
        self._bounds.report(Closed.HEADER_TIMEOUT)
        if self.conn.trailing_data[0]:
            self._answer(ApiError(408, "request_timeout", "The request's headers took too long. Send it again."))
        else:
            self.transport.close()  # no request was sent

    def body_timed_out(self, now_s: float) -> None:
        timeout_s = self._bounds.limits.body_timeout_s
        if self.flow.read_paused:  # it is ours to read
            self.since_s, self._last_byte_s, self._body_bytes = now_s, now_s, 0
        allowed_s = timeout_s + self._body_bytes / MIN_BODY_BYTES_PER_S
        if now_s - self.since_s > allowed_s or now_s - self._last_byte_s > timeout_s:
            self._bounds.report(Closed.BODY_TIMEOUT)
            if self.conn.our_state is h11.SEND_RESPONSE:
                self._answer(ApiError(408, "request_timeout", "The request's body took too long. Send it again."))
            else:
                self.abort()

    def check_peer(self) -> None:
        connection = self.transport.get_extra_info("socket")
        if self.transport.is_closing() or connection is None:
            return
        poll = select.poll()
        poll.register(connection.fileno(), 0)
        if poll.poll(0):  # an error, or both directions closed
            self.abort()

    # Called by the transport.

    def must_linger(self) -> bool:
        """Whether to discard further input instead of closing immediately: a close would answer it with a reset, which
        can discard our reply before the peer has read it. Enters that phase."""
        if self.phase is Phase.LINGER:
            return True
        if self._eof or self.conn.their_state in {h11.DONE, h11.MUST_CLOSE, h11.CLOSED}:
            return False
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            return False
        self._slices.clear()
        self._move(Phase.LINGER)
        return True

    # Parsing

    def _parse(self, data: bytes) -> None:
        if self.conn.their_state is h11.IDLE and not self._head_is_short(data):
            self._answer(ApiError(431, "headers_too_large", f"The request has over {_MAX_LINES} headers. Send fewer."))
            return
        self._body_bytes += len(data)
        super().data_received(data)
        self._follow()

    def _head_is_short(self, data: bytes) -> bool:
        """Whether the head of a request, as far as it has arrived with `data`, has few enough lines to be parsed
        quickly."""
        received = self.conn.trailing_data[0]
        head = (received + data).partition(b"\r\n\r\n")[0]
        return head.count(b"\n") <= _MAX_LINES

    def _parse_next_slice(self) -> None:
        if self._slices and not self.transport.is_closing():
            self._parse(self._slices.popleft())
        if self._slices:
            self.loop.call_soon(self._parse_next_slice)
        else:
            self._own_transport.release()

    def _follow(self) -> None:
        """Enter the phase of h11's state."""
        if self.phase is Phase.LINGER or self._upgraded:
            return
        if self.conn.their_state is h11.SEND_BODY:
            if self.phase is not Phase.BODY:
                self._body_bytes = 0
            self._move(Phase.BODY)
        elif self.conn.their_state is not h11.IDLE:
            self._move(Phase.ACTIVE)
        elif self.phase not in {Phase.HEAD, Phase.REFUSED}:
            self._move(Phase.HEAD if self.conn.trailing_data[0] else Phase.IDLE)

    def _move(self, phase: Phase) -> None:
        self._bounds.move(self, phase, self.loop.time())

    # Replies

    @property
    def _own_transport(self) -> _Transport:
        assert isinstance(self.transport, _Transport)
        return self.transport

    def _answer(self, error: ApiError) -> None:
        """Send a reply in place of the app's, and close."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = json.dumps(error.body()).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), _CLOSE]
        reason = HTTPStatus(error.status).phrase.encode()
        head = h11.Response(status_code=error.status, headers=headers, reason=reason)
        events = (head, h11.Data(data=body), h11.EndOfMessage())
        for event in events:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    async def _closing_after_an_unread_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The app; if it answers before it has read a large body, the rest is not read and the connection is closed."""
        cycle = self.cycle

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and cycle.more_body and self._unread_is_large(scope):
                message = {**message, "headers": [*message.get("headers", ()), _CLOSE]}
            await send(message)

        await self._served(scope, receive, send_and_close)

    def _unread_is_large(self, scope: Scope) -> bool:
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        return not lengths or int(lengths[0]) - self._body_bytes > _DRAINED_BYTES or self.cycle.waiting_for_100_continue

    async def _refusing(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in _ALWAYS_ANSWERED:  # an orchestrator must not mistake a full server for a dead one
            await self.config.loaded_app(scope, receive, send)
            return
        message = "The server is at its connection limit. Retry later."
        headers = {"Retry-After": "2", "Connection": "close"}
        await ApiError(503, "server_overloaded", message, headers=headers).to_response()(scope, receive, send)

    def _probe_peer(self) -> None:
        if self.conn.our_state is h11.SEND_RESPONSE and self.scope["http_version"] == "1.1":
            self.transport.write(
                self.conn.send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")) or b""
            )
        self.loop.call_later(_CHECK_PEER_S, self.check_peer)


class _Transport(asyncio.Transport):
    """asyncio's transport, with a close that lets the last reply arrive, and reading that can be suspended."""

    def __init__(self, inner: asyncio.Transport, protocol: HttpProtocol) -> None:
        super().__init__()
        self.inner = self._inner = inner
        self._protocol = protocol
        self._lingers = False
        self._held = False
        self._paused = False

    def close(self) -> None:
        if self._inner.is_closing() or not self._protocol.must_linger():
            self._inner.close()
        elif not self._lingers:
            self._lingers = True
            try:
                self._inner.write_eof()
                self._inner.resume_reading()
            except OSError:  # reset by the peer
                self._inner.abort()

    def really_close(self) -> None:
        self._inner.close()

    def abort(self) -> None:
        self._inner.abort()

    def is_closing(self) -> bool:
        return self._lingers or self._inner.is_closing()

    def hold(self) -> None:
        """Do not read until `release`, whatever the protocol requests."""
        self._held = True
        self._inner.pause_reading()

    def release(self) -> None:
        self._held = False
        if not self._paused or self._lingers:
            self._inner.resume_reading()

    def pause_reading(self) -> None:
        self._paused = True
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if not self._held:
            self._inner.resume_reading()

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if not self._lingers:
            self._inner.write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        self.write(b"".join(list_of_data))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._inner.get_extra_info(name, default)
