"""`python3 -m triton_supervisor tritonserver ARGUMENTS`: process 1 of the Triton container.

Runs tritonserver, forwards SIGTERM and SIGINT to it, watches it, and restarts it when it fails. The key of Triton's
restricted calls is read from TRITON_CONTROL_KEY and removed from tritonserver's environment.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType
from typing import Final

from speech_protocol.control import VARIABLE, headers
from triton_supervisor.client import TritonClient
from triton_supervisor.repository import has_process
from triton_supervisor.watch import Watch

logger = logging.getLogger("triton_supervisor")

# Longer than tritonserver's own --exit-timeout-secs: streams in flight finish first.
_STOP_TIMEOUT_S: Final = 36.0
# A shorter run is a failed start; after this many in a row the container exits, and its orchestrator decides.
_SHORT_RUN_S: Final = 20.0
_MAX_SHORT_RUNS: Final = 3


class Supervisor:
    """Runs `command` until a signal stops it; `run` returns the exit status."""

    def __init__(self, command: list[str], url: str, metrics_url: str, environment: dict[str, str]) -> None:
        self._command = command
        key = environment.pop(VARIABLE, "")
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        client = TritonClient(url, metrics_url, headers(key))
        self._watch = Watch(client, self._pid, has_process=has_process(command))

    def run(self) -> int:
        """Run until a stop; returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        threading.Thread(target=self._watch.run, args=(self._stopping,), name="watch", daemon=True).start()
        short_runs = 0
        while True:
            begin_s = time.monotonic()
            status = self._run_once()
            if self._stopping.is_set() or status == 0:
                return status if status >= 0 else 128 - status
            short_runs = short_runs + 1 if time.monotonic() - begin_s < _SHORT_RUN_S else 0
            if short_runs >= _MAX_SHORT_RUNS:
                logger.error("tritonserver ended %d times in a row right after its start; exiting", short_runs)
                return status if status > 0 else 1
            logger.error("tritonserver ended with status %d; restarting it", status)

    def _run_once(self) -> int:
        process = subprocess.Popen(self._command, env=self._environment, start_new_session=True)
        self._process = process
        if self._stopping.is_set():  # the signal arrived before the process was started
            process.terminate()
        try:
            return _wait(process)
        finally:
            self._process = None
            # Its model processes ignore SIGTERM and would hold their memory forever.
            _kill_group(process.pid)

    def _pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None else None

    def _stop(self, number: int, _: FrameType | None) -> None:
        if self._stopping.is_set():
            return
        self._stopping.set()
        if (pid := self._pid()) is not None:
            os.kill(pid, number)
            timer = threading.Timer(_STOP_TIMEOUT_S, _kill_group, (pid,))
            timer.daemon = True
            timer.start()


def _wait(process: subprocess.Popen[bytes]) -> int:
    """The exit status of `process`. Process 1 is also the parent of every orphan and must reap it."""
    while True:
        pid, status = os.wait()
        if pid == process.pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _port(command: list[str], option: str, default: int) -> int:
    found = [word.partition("=")[2] for word in command if word.startswith(f"{option}=")]
    return int(found[-1]) if found else default


def main() -> None:
    """Exits with 64 if no command is given, else with tritonserver's status."""
    command = sys.argv[1:]
    if not command:
        sys.exit("usage: python3 -m triton_supervisor tritonserver ARGUMENTS")
    logging.basicConfig(level=logging.INFO, format="triton_supervisor: %(message)s")
    url = f"http://127.0.0.1:{_port(command, '--http-port', 8000)}"
    metrics_url = f"http://127.0.0.1:{_port(command, '--metrics-port', 8002)}/metrics"
    sys.exit(Supervisor(command, url, metrics_url, dict(os.environ)).run())


if __name__ == "__main__":
    main()
