"""Ends a process whose work never returns: a hanging driver cannot be stopped in another way.

Triton treats the ended process as a crashed model; the frontend reports it to its clients and restarts it.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType

logger = logging.getLogger(__name__)

_EXIT_CODE = 70  # EX_SOFTWARE
_LOOKS = 4  # in a limit


def end_process() -> None:
    """End the process immediately, without clean-up, which a hanging process cannot run."""
    os._exit(_EXIT_CODE)


class Watchdog:
    """A context for each step of one thread; `end` is called when a step takes longer than `limit_s`."""

    def __init__(self, limit_s: float, end: Callable[[], None] = end_process) -> None:
        self._limit_s, self._end = limit_s, end
        self._begin_s: float | None = None
        self._over = threading.Event()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def __enter__(self) -> None:
        self._begin_s = time.monotonic()

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._begin_s = None

    def close(self) -> None:
        """Stop watching."""
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(self._limit_s / _LOOKS):
            begin_s = self._begin_s
            if begin_s is not None and time.monotonic() - begin_s > self._limit_s:
                logger.critical("a step took longer than %g s (STEP_TIMEOUT): ending this process", self._limit_s)
                self._end()
                return
