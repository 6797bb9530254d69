"""Limits on requests and characters a minute, one allowance a key, and the `x-ratelimit-*` headers of replies."""

import math
import time
from collections.abc import Callable
from typing import Final

from openai_frontend.errors import ApiError

_MINUTE_S: Final = 60.0
_MAX_RETRY_AFTER_S: Final = 120  # the longest wait that the OpenAI client accepts
Clock = Callable[[], float]


class _Bucket:
    """A token bucket that refills evenly at `per_minute`."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._level = float(per_minute)
        self._filled_s = clock()

    def missing_s(self, amount: int) -> float:
        """Seconds until `amount` is available; 0 now, infinite if it exceeds the capacity."""
        if amount > self.per_minute:
            return math.inf
        return max(0.0, amount - self._fill()) * _MINUTE_S / self.per_minute

    def take(self, amount: int) -> None:
        self._level = self._fill() - amount

    def headers(self, name: str) -> dict[str, str]:
        level = self._fill()
        return {
            f"x-ratelimit-limit-{name}": str(self.per_minute),
            f"x-ratelimit-remaining-{name}": str(math.floor(level)),
            f"x-ratelimit-reset-{name}": _duration((self.per_minute - level) * _MINUTE_S / self.per_minute),
        }

    def _fill(self) -> float:
        now_s = self._clock()
        gained = (now_s - self._filled_s) * self.per_minute / _MINUTE_S
        self._level, self._filled_s = min(self.per_minute, self._level + gained), now_s
        return self._level


class Allowance:
    """The remaining allowance of one key. A limit of 0 is no limit."""

    def __init__(self, requests_per_minute: int, characters_per_minute: int, clock: Clock = time.monotonic) -> None:
        limits = {"requests": requests_per_minute, "characters": characters_per_minute}
        self._buckets = {name: _Bucket(limit, clock) for name, limit in limits.items() if limit}

    def spend_request(self) -> None:
        """Raises ApiError 429 if the minute's requests are used up."""
        self._spend("requests", 1)

    def spend_characters(self, count: int) -> None:
        """Raises ApiError 429 if the minute's characters are not sufficient."""
        self._spend("characters", count)

    def headers(self) -> dict[str, str]:
        """`x-ratelimit-{limit,remaining,reset}-{requests,characters}`, for the limits that are set."""
        return {name: value for kind, bucket in self._buckets.items() for name, value in bucket.headers(kind).items()}

    def _spend(self, name: str, amount: int) -> None:
        bucket = self._buckets.get(name)
        if bucket is None:
            return
        missing_s = bucket.missing_s(amount)
        if missing_s:
            raise _exceeded(name, amount, bucket.per_minute, missing_s)
        bucket.take(amount)


def _exceeded(name: str, amount: int, per_minute: int, missing_s: float) -> ApiError:
    limit = f"The limit is {per_minute} {name} a minute"
    if missing_s == math.inf:
        message = f"{limit}, and this request alone has {amount}. Send it in parts."
        return ApiError(429, "rate_limit_exceeded", message, headers={"x-should-retry": "false"})
    seconds = min(_MAX_RETRY_AFTER_S, max(1, math.ceil(missing_s)))
    message = f"{limit}. Try again in {seconds} s."
    return ApiError(429, "rate_limit_exceeded", message, headers={"Retry-After": str(seconds)})


def _duration(seconds: float) -> str:
    """A duration in OpenAI's form: `1m2s`, `3s`, `20ms`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
