"""An event loop whose clock is stopped while it computes and jumps to the next timer when it is idle: time-outs of
seconds take no time in a test, and none depends on the machine's speed. For coroutines without sockets and threads."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Never waits if a time-out is given; the time-out is added to the clock instead."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        ready = super().select(0)
        if not ready:
            self.now_s += max(0.0, timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`time()` starts at 0."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now_s


def run_in_virtual_time(work: Callable[[], Coroutine[Any, Any, T]], limit_s: float = 1e6) -> T:
    """What `work` returns. Raises TimeoutError if it takes more than `limit_s` virtual seconds."""

    async def bounded() -> T:
        async with asyncio.timeout(limit_s):
            return await work()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(bounded())
