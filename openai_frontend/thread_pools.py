"""Bounded thread pools, one for each purpose, so that none starves another.

A store that waits for another process's lock must not delay an encoder, and a large upload must not delay reading a
voice.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, ParamSpec, TypeVar

from starlette.datastructures import UploadFile

from openai_frontend.errors import ApiError

P = ParamSpec("P")
T = TypeVar("T")

_RETRY_AFTER_S: Final = 2


class WorkerPool:
    """A pool of `threads` threads with a queue of at most `max_queued` calls."""

    def __init__(self, name: str, threads: int, max_queued: int) -> None:
        self.name = name
        self._limit = threads + max_queued
        self._pending = 0
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a thread of the pool. If the caller is cancelled, a running call continues, and a queued
        one is dropped. Raises ApiError 503 if the queue is full."""
        if self._pending >= self._limit:
            message = f"The server's {self.name} queue is full. Retry later."
            raise ApiError(503, "server_overloaded", message, headers={"Retry-After": str(_RETRY_AFTER_S)})
        self._pending += 1
        future = self._executor.submit(function, *args, **kwargs)
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: _call_soon(loop, self._leave))
        return await asyncio.wrap_future(future)

    def _leave(self) -> None:
        self._pending -= 1

    def close(self) -> None:
        """Drop queued calls; running ones finish."""
        self._executor.shutdown(wait=False, cancel_futures=True)


async def read_upload(pool: WorkerPool, upload: UploadFile) -> bytes:
    """The bytes of an uploaded file. Megabytes are copied in a thread of `pool`."""
    return await pool.run(upload.file.read)


@dataclass(frozen=True, slots=True)
class Pools:
    """The thread pools of one frontend."""

    encoding: WorkerPool = field(
        default_factory=lambda: WorkerPool("encoding", threads=(os.cpu_count() or 1) + 2, max_queued=4096)
    )
    text: WorkerPool = field(default_factory=lambda: WorkerPool("text", threads=2, max_queued=1024))
    json: WorkerPool = field(default_factory=lambda: WorkerPool("JSON", threads=1, max_queued=256))
    uploads: WorkerPool = field(default_factory=lambda: WorkerPool("uploads", threads=2, max_queued=256))
    reading: WorkerPool = field(default_factory=lambda: WorkerPool("voice reading", threads=4, max_queued=1024))
    storing: WorkerPool = field(default_factory=lambda: WorkerPool("voice storing", threads=4, max_queued=64))

    def close(self) -> None:
        """Drop queued calls of all pools; running ones finish."""
        for pool in (self.encoding, self.text, self.json, self.uploads, self.reading, self.storing):
            pool.close()


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)
