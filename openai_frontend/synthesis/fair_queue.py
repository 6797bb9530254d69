"""A concurrency limit with a fair wait queue: round-robin by key, in order of arrival within each."""

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Final

from openai_frontend.errors import ApiError

# Weight of the latest request in the moving average of their durations.
_WEIGHT: Final = 0.1
_RETRY_AFTER_S: Final = (1, 120)  # the range that OpenAI's clients respect


class FairQueue:
    """`slots` concurrent requests, 0 for no limit; a request is rejected after `timeout_s` in the queue, 0 for never.
    `clock` is monotonic."""

    def __init__(self, slots: int, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._slots, self._timeout_s, self._clock = slots, timeout_s, clock
        self._active = 0
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()
        self._usual_s = 0.0

    @property
    def active(self) -> int:
        """Requests that hold a slot."""
        return self._active

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def take(self, owner: Hashable) -> AsyncGenerator[None, None]:
        """Wait for a slot, and hold it. Raises ApiError 503 after the time-out."""
        await self._wait(owner)
        begin_s = self._clock()
        try:
            yield
        finally:
            took_s = self._clock() - begin_s
            self._usual_s += (took_s - self._usual_s) * (_WEIGHT if self._usual_s else 1)
            self._pass_on()

    async def _wait(self, owner: Hashable) -> None:
        if not self._slots or (self._active < self._slots and not self._waiting):
            self._active += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(waiter)
        try:
            async with asyncio.timeout(self._timeout_s or None):
                await waiter
        except TimeoutError:
            self._leave(owner, waiter)
            raise self._refusal() from None
        except asyncio.CancelledError:
            self._leave(owner, waiter)
            raise

    def _leave(self, owner: Hashable, waiter: "asyncio.Future[None]") -> None:
        """Leave the queue; a slot that was granted at the same moment is passed to the next request."""
        if waiter.done() and not waiter.cancelled():
            self._pass_on()
            return
        queue = self._waiting.get(owner, deque())
        if waiter in queue:  # otherwise it was skipped
            queue.remove(waiter)
            if not queue:
                del self._waiting[owner]

    def _pass_on(self) -> None:
        """Pass the slot to the first request of the next owner, which then moves to the end of the round."""
        while self._waiting:
            owner, queue = self._waiting.popitem(last=False)
            waiter = queue.popleft()
            if queue:
                self._waiting[owner] = queue
            # A request that was cancelled at the same moment is still in the queue.
            if not waiter.done():
                waiter.set_result(None)
                return
        self._active -= 1

    def retry_after_s(self) -> int:
        """Seconds until a new request would be served: recent request duration, times queue length, over concurrency; 1
        to 120."""
        least, most = _RETRY_AFTER_S
        at_once = self._slots or max(self._active, 1)
        return min(max(math.ceil(self._usual_s * (self.waiting + 1) / at_once), least), most)

    def _refusal(self) -> ApiError:
        seconds = self.retry_after_s()
        message = f"Timed out after {self._timeout_s:g} s in the queue. Retry in {seconds} s."
        return ApiError(503, "queue_timeout", message, headers={"Retry-After": str(seconds)})
