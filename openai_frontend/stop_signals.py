"""SIGINT, SIGTERM and SIGHUP as a request to stop, instead of an exception at an arbitrary point of be.

Importing this module is cheap: a process installs its handlers before it imports anything that takes time.
"""

import contextlib
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Final

STOPPED: Final = 0


class StopSignals:
    """Handlers of the three signals. `on_first` runs once, when the first arrives, in the handler: it must not use
    buffered output. What a signal then does depends on what there is to take down (`then`)."""

    def __init__(self, on_first: Callable[[], None] = lambda: None) -> None:
        self.requested = False
        self._on_first = on_first
        self._act: Callable[[], object] = lambda: os._exit(STOPPED)

    def install(self) -> None:
        """From now on, until `then` is called, a signal ends the process at once: there is nothing to take down yet."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` leaves it
            signal.signal(signal.SIGHUP, self._receive)

    def then(self, act: Callable[[], object]) -> None:
        """From now on every signal calls `act`, on the main thread; it is called at once if one has arrived."""
        self._act = act
        if self.requested:
            act()

    def ignore(self) -> None:
        """Nothing interrupts the rest, which has a bound of its own; nor the end of the interpreter."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def _receive(self, _: int, __: FrameType | None) -> None:
        if not self.requested:
            self.requested = True
            with contextlib.suppress(OSError):  # the terminal may be gone
                self._on_first()
        self._act()
