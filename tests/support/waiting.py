"""Bounded waiting for a condition: the only way a test waits."""

import threading
from collections.abc import Callable
from time import monotonic

_POLL_S = 0.02


def eventually(condition: Callable[[], object], what: str, timeout_s: float = 30.0) -> None:
    """Return as soon as `condition` holds; fail, saying `what` never happened, after `timeout_s`."""
    deadline_s = monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert monotonic() < deadline_s, f"not within {timeout_s:g} s: {what}"
        pause.wait(_POLL_S)
