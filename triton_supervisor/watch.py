"""Detects faults of tritonserver and its model processes that Triton itself does not, and handles them.

- A load whose process ended before its handshake never returns: LOADING without a process for `NO_PROCESS_S`.
  tritonserver is killed, since it does not even end on SIGTERM.
- An unload whose process was killed late never ends: UNLOADING without a process for `NO_PROCESS_S`. The model is
  loaded, which Triton accepts in this state; the idle timer unloads it.
- A model process is stopped (SIGSTOP) for `STOPPED_S`: it is killed, and the frontend loads the model again.
- tritonserver is stopped for `STOPPED_S`, or does not answer for `SILENT_S`: it is killed.

The process that runs tritonserver restarts it. Before a kill because of one model, streams of the others get up to
`DRAIN_S` to end.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Protocol

from triton_supervisor.processes import Process, descendants, read_process

logger = logging.getLogger(__name__)

INTERVAL_S: Final = 0.5
NO_PROCESS_S: Final = 3.0
STOPPED_S: Final = 5.0
SILENT_S: Final = 30.0
DRAIN_S: Final = 15.0

_LOADING: Final = "LOADING"
_UNLOADING: Final = "UNLOADING"


class Server(Protocol):
    """The calls of tritonserver that the watch needs; see `client.TritonClient`."""

    def states(self) -> dict[str, str]:
        """Each model's state in the repository index."""

    def active_models(self) -> set[str]:
        """The models that are synthesizing."""

    def begin_load(self, model: str) -> None:
        """Start a load without waiting for it."""


class Watch:
    """Checks a tritonserver every `INTERVAL_S`. `pid` returns its process id, None while it is not running;
    `has_process` tells models with a process from those of other backends; `clock` is monotonic; `kill` and `processes`
    are replaced in tests."""

    def __init__(
        self,
        server: Server,
        pid: Callable[[], int | None],
        *,
        has_process: Callable[[str], bool] = lambda _: True,
        clock: Callable[[], float] = time.monotonic,
        kill: Callable[[int], None] | None = None,
        processes: Callable[[int], tuple[Process | None, list[Process]]] | None = None,
    ) -> None:
        self._server, self._pid, self._clock = server, pid, clock
        self._has_process = has_process
        self._kill = kill or _kill
        self._processes = processes or (lambda pid: (read_process(pid), descendants(pid)))
        self._watched: int | None = None
        self._answered = False  # a server that is still starting is not unresponsive
        self._since_s: dict[tuple[str, str], float] = {}

    def run(self, stopped: threading.Event) -> None:
        """Check until `stopped` is set."""
        while not stopped.wait(INTERVAL_S):
            try:
                self.look()
            except Exception:
                # Without the watch a fault would last forever.
                logger.exception("a check of tritonserver failed")

    def look(self) -> None:
        """Check once, and handle faults that have lasted too long."""
        pid = self._pid()
        if pid != self._watched:
            self._watched, self._answered, self._since_s = pid, False, {}
        if pid is None:
            return
        triton, below = self._processes(pid)
        if triton is None:
            return
        if self._lasts("stopped", str(pid), triton.is_stopped, STOPPED_S):
            self._end_triton(pid, "it is stopped")
            return
        self._end_stopped_models(below)
        states = self._ask()
        if self._lasts("silent", str(pid), states is None and self._answered, SILENT_S):
            self._end_triton(pid, f"it has not answered for {SILENT_S:g} s")
        elif states is not None:
            self._recover_models(pid, states, below)

    def _ask(self) -> dict[str, str] | None:
        try:
            states = self._server.states()
        except (OSError, ValueError):
            return None
        self._answered = True
        return states

    def _end_stopped_models(self, below: list[Process]) -> None:
        for process in below:
            if self._lasts("stopped", str(process.pid), process.is_stopped, STOPPED_S):
                logger.warning("killing process %d, which is stopped: %.200s", process.pid, process.command)
                self._kill(process.pid)

    def _recover_models(self, pid: int, states: Mapping[str, str], below: list[Process]) -> None:
        for model, state in states.items():
            if not self._has_process(model):
                continue
            served = any(process.serves(model) for process in below)
            if self._lasts(_UNLOADING, model, state == _UNLOADING and not served, NO_PROCESS_S):
                logger.warning("%s is UNLOADING without a process; loading it to recover", model)
                self._server.begin_load(model)
                self._since_s.clear()
            is_stuck = self._lasts(_LOADING, model, state == _LOADING and not served, NO_PROCESS_S)
            waited = self._lasts("drain", model, is_stuck, DRAIN_S)
            if is_stuck and (waited or not self._others_speak(model)):
                self._end_triton(pid, f"the process of {model} ended before it was up, and its load would never end")
                return

    def _others_speak(self, model: str) -> bool:
        with suppress(OSError, ValueError):
            return bool(self._server.active_models() - {model})
        return False

    def _lasts(self, fault: str, where: str, is_there: bool, limit_s: float) -> bool:
        """Whether a fault has been present at every check for `limit_s`."""
        if not is_there:
            self._since_s.pop((fault, where), None)
            return False
        return self._clock() - self._since_s.setdefault((fault, where), self._clock()) >= limit_s

    def _end_triton(self, pid: int, why: str) -> None:
        logger.error("killing tritonserver: %s", why)
        self._since_s.clear()
        self._kill(pid)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
