"""The watchdog in a separate process, which it ends."""

import subprocess
import sys

_PROGRAM = """
import threading
from speech_engines.watchdog import Watchdog

with Watchdog(0.1):
    threading.Event().wait(60)
"""


def test_work_that_never_returns_ends_its_process() -> None:
    result = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=50, check=False)
    assert result.returncode == 70
    assert "STEP_TIMEOUT" in result.stderr
