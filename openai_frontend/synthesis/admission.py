"""Limits on requests in flight: for the whole server, and a share for each API key."""

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Final

from openai_frontend.errors import ApiError
from openai_frontend.synthesis.fair_queue import FairQueue

# A key may hold this many times the free capacity (dynamic thresholds, as in Choudhury and Hahne's shared buffers): a
# single busy key gets three quarters of all, two busy keys three sevenths each, and there is always capacity for
# another one.
_SHARE: Final = 3


class Admission:
    """At most `limit` requests in flight; further ones are rejected immediately. With `shares_by_key`, so are those of
    an owner that exceeds its share. Admitted requests may have to wait in the `fair_queue`."""

    def __init__(self, limit: int, fair_queue: FairQueue, *, shares_by_key: bool = False) -> None:
        self._limit = limit
        self._shares_by_key = shares_by_key
        self._held: Counter[Hashable] = Counter()
        self.pending = 0
        self.fair_queue = fair_queue

    @contextmanager
    def admit(self, owner: Hashable = None) -> Iterator[None]:
        """Count one request of `owner` as in flight. Raises ApiError 503 at the limit."""
        if not self._has_capacity(owner):
            raise self._refusal(owner)
        self.pending += 1
        self._held[owner] += 1
        try:
            yield
        finally:
            self.pending -= 1
            self._held[owner] -= 1
            if not self._held[owner]:
                del self._held[owner]

    def _has_capacity(self, owner: Hashable) -> bool:
        free = self._limit - self.pending
        held = self._held[owner]
        if not self._shares_by_key or not held:
            return free > 0
        return free > 1 and held < _SHARE * free

    def _refusal(self, owner: Hashable) -> ApiError:
        seconds = self.retry_after_s()
        if self.pending >= self._limit:
            message = f"The server is at capacity ({self._limit} requests in flight). Retry in {seconds} s."
        else:
            held = self._held[owner]
            message = f"This API key has {held} requests in flight, its share of the server. Retry in {seconds} s."
        return ApiError(503, "server_overloaded", message, headers={"Retry-After": str(seconds)})

    def retry_after_s(self) -> int:
        """Seconds until a new request would be served, estimated from the measured service rate."""
        return self.fair_queue.retry_after_s()
