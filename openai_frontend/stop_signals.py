"""SIGINT, SIGTERM and SIGHUP as a request to stop, instead of an exception at an arbitrary point of execution.

Importing this module is cheap: a process installs its handlers before it imports anything slow.
"""

import contextlib
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Final

STOPPED: Final = 0


class StopSignals:
    """Handlers of the three signals. `on_first` runs once, when the first one arrives, in the handler: it must not use
    buffered output. The effect of a signal depends on the phase of the process (`then`)."""

    def __init__(self, on_first: Callable[[], None] = lambda: None) -> None:
        self.requested = False
        self._on_first = on_first
        self._act: Callable[[], object] = lambda: os._exit(STOPPED)

    def install(self) -> None:
        """From now on, until `then` is called, a signal ends the process immediately: there is nothing to shut down
        yet."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as set by `nohup`
            signal.signal(signal.SIGHUP, self._receive)

    def then(self, act: Callable[[], object]) -> None:
        """From now on every signal calls `act`, on the main thread; it is called immediately if a signal has already
        arrived."""
        self._act = act
        if self.requested:
            act()

    def ignore(self) -> None:
        """Ignore further signals during the bounded rest of the shutdown, and during the exit of the interpreter."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def _receive(self, _: int, __: FrameType | None) -> None:
        if not self.requested:
            self.requested = True
            with contextlib.suppress(OSError):  # the terminal may be closed
                self._on_first()
        self._act()
