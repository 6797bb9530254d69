"""Servers for benchmarks, each in separate processes: Triton with the frontend, and others."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from local_stack.triton_process import TritonProcess, free_port

START_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Running:
    """A server at `url`; `triton_url` and `metrics_port` are those of its Triton."""

    url: str
    processes: Mapping[str, psutil.Process]
    triton_url: str = ""
    metrics_port: int = 0

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds of each process, including its children."""
        return {name: sum(map(_cpu_s, (each, *each.children(recursive=True)))) for name, each in self.processes.items()}


@contextmanager
def our_stack(
    folder: Path, engine: Mapping[str, str] | None = None, *, restarts: bool = False, **settings: object
) -> Iterator[Running]:
    """Triton, with `engine` in its models' environment, and the frontend with `settings`; `folder` is for voices.
    `restarts`: restart a Triton that hangs or ends."""
    with TritonProcess(environment=engine, restarts=restarts) as triton:
        port = free_port()
        own = {"PORT": port, "TRITON_URL": triton.url, "LOG_LEVEL": "warning", "VOICES_FOLDER": folder / "voices"}
        environment = {name: str(value) for name, value in {**(engine or {}), **own, **settings}.items()}
        with other_process(f"http://127.0.0.1:{port}", "openai_frontend", environment=environment) as frontend:
            processes = {"frontend": frontend.processes["server"], "triton": psutil.Process(triton.pid)}
            yield Running(frontend.url, processes, triton.url, triton.metrics_port)


@contextmanager
def other_process(
    url: str, module: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """`python -m module`, once it answers at `url`."""
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], env={**os.environ, **(environment or {})})
    try:
        _wait(url, process)
        yield Running(url, {"server": psutil.Process(process.pid)})
    finally:
        process.terminate()
        process.wait(60)


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError:
            return  # it answers
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"{url} does not answer")


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
