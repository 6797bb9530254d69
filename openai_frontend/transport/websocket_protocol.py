"""A WebSocket connection: uvicorn's wsproto protocol, counted while it is open."""

from collections.abc import Callable
from typing import Any

from uvicorn.protocols.websockets.wsproto_impl import WSProtocol


class WebSocketProtocol(WSProtocol):
    """Calls `on_lost` when the connection has ended."""

    def __init__(self, *arguments: Any, on_lost: Callable[[], None], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._on_lost = on_lost

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost()
        super().connection_lost(exc)
