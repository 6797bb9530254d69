"""Frames per second of another engine, run by its command line."""

import shlex
import subprocess
import time

TIMEOUT_S = 600


def run_s(command: str) -> float:
    """Seconds of one run, including its load. Raises if it fails or takes too long."""
    begin_s = time.perf_counter()
    subprocess.run(shlex.split(command), check=True, timeout=TIMEOUT_S, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin_s
