"""Work that is cancelled as soon as the client disconnects."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

from fastapi import Request

T = TypeVar("T")


async def unless_disconnected(request: Request, opening: Awaitable[T]) -> T | None:
    """The result of `opening`, or None if the client disconnects first. No task is left running."""
    work = asyncio.ensure_future(opening)
    disconnected = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({work, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        for task in (disconnected, work):
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
            elif not task.cancelled():
                task.exception()  # retrieve it, or asyncio reports it


async def _disconnected(request: Request) -> None:
    # The request's body has been read completely, so the next message is the disconnect. A client that only closes its
    # sending side has not disconnected: see http_protocol.
    while (await request.receive())["type"] != "http.disconnect":
        pass
