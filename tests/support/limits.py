"""Rate limits with a clock that a test moves: no allowance refills while a slow machine is busy."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from unittest import mock

from openai_frontend.api.rate_limits import Allowance


class LimitClock:
    """Seconds, which pass only when a test adds them."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@contextmanager
def frozen_limits() -> Iterator[LimitClock]:
    """The clock of the allowances of every frontend that is made meanwhile."""
    clock = LimitClock()
    with mock.patch("openai_frontend.api.auth.Allowance", partial(Allowance, clock=clock)):
        yield clock
