"""A fault of tritonserver that is not what a test is about."""

import functools
from collections.abc import Callable
from typing import Any

from tests.support.stack import Gate, Stack
from tests.support.waiting import eventually


def once_more_if_triton_aborts(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test that kills a model's process from the start again where tritonserver aborted with it: one in a
    hundred does. What clients get then is what tests/faults/test_triton.py asserts."""

    @functools.wraps(test)
    def run(stack: Stack, name: str, **fixtures: Any) -> None:
        before = stack.triton.pid
        try:
            test(stack=stack, name=name, **fixtures)
        except Exception:
            if stack.triton.pid == before and stack.triton.is_running():
                raise
            eventually(lambda: stack.triton.pid != before and stack.frontend.is_ready(), "Triton is there again")
            for gate in fixtures.values():
                if isinstance(gate, Gate):
                    gate.close()
            test(stack=stack, name=f"{name}-again", **fixtures)

    return run
