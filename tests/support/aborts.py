"""Handles a fault of tritonserver in tests with another subject."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

from tests.support.stack import Gate, Stack
from tests.support.waiting import eventually


def once_more_if_triton_aborts(test: Callable[..., None]) -> Callable[..., None]:
    """Repeat a test that kills a model's process if tritonserver aborts with it, as in about one of a hundred cases.
    tests/faults/test_triton.py tests the effect on clients."""

    @functools.wraps(test)
    def run(stack: Stack, name: str, **fixtures: Any) -> None:
        before = stack.triton.pid
        try:
            test(stack=stack, name=name, **fixtures)
        except Exception:
            with contextlib.suppress(AssertionError):  # it writes a stack trace before it ends
                eventually(lambda: stack.triton.pid != before or not stack.triton.is_running(), "it aborts", 10)
            if stack.triton.pid == before and stack.triton.is_running():
                raise
            eventually(lambda: stack.triton.pid != before and stack.frontend.is_ready(), "Triton is there again")
            for gate in fixtures.values():
                if isinstance(gate, Gate):
                    gate.close()
            test(stack=stack, name=f"{name}-again", **fixtures)

    return run
