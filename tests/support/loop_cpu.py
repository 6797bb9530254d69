"""The CPU time that a frontend's event loop spends in one callback, independent of other processes."""

import asyncio
import gc
import mmap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest import mock


@dataclass
class LoopCpu:
    """The longest callback so far of each kind, in seconds of the loop thread's own CPU time."""

    worst_s: float = 0.0
    where: str = ""
    slow: dict[str, float] = field(default_factory=dict)

    def note(self, took_s: float, handle: asyncio.Handle) -> None:
        if took_s > self.worst_s:
            self.worst_s, self.where = took_s, repr(handle)[:400]


def reference_s() -> float:
    """CPU time of a fixed piece of Python, about a millisecond on a machine of 2026: the unit of every limit."""
    best = float("inf")
    for _ in range(5):
        begin_s = time.thread_time()
        total = 0
        for number in range(25_000):
            total += number & 7
        best = min(best, time.thread_time() - begin_s)
    return best


def paging_s(size_bytes: int) -> float:
    """CPU time of filling fresh memory of a size, which the system pages in: the other unit of a limit, since machines
    of one speed differ by a factor of ten there. Not the smallest of several: each buffer is paged in anew."""
    data = bytes(size_bytes)
    times_s = []
    for _ in range(3):
        begin_s = time.thread_time()
        with mmap.mmap(-1, max(1, size_bytes)) as memory:
            memory.write(data)
        times_s.append(time.thread_time() - begin_s)
    return max(times_s)


@contextmanager
def measured(thread: threading.Thread) -> Iterator[LoopCpu]:
    """Measure every callback of the event loop that runs in `thread`. Garbage is collected before, not during it."""
    cpu = LoopCpu()
    original: Callable[[asyncio.Handle], None] = asyncio.Handle._run  # type: ignore[attr-defined]

    def run(handle: asyncio.Handle) -> None:
        if threading.get_ident() != thread.ident:
            original(handle)
            return
        begin_s = time.thread_time()
        original(handle)
        cpu.note(time.thread_time() - begin_s, handle)

    gc.collect()
    gc.disable()
    try:
        with mock.patch.object(asyncio.Handle, "_run", run), mock.patch.object(asyncio.TimerHandle, "_run", run):
            yield cpu
    finally:
        gc.enable()
