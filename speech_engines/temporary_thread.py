"""Runs work in a temporary thread."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def run_in_temporary_thread(work: Callable[[], T]) -> T:
    """The result or exception of `work`.

    A thread that has computed on a CPU keeps its OpenMP threads until it ends. As soon as all threads together have
    more of them than there are cores, each sleeps between two operations instead of busy-waiting, and the engine's
    steps take half as long again. So only the engine's own thread may persist.
    """
    with ThreadPoolExecutor(1, "passing") as pool:
        return pool.submit(work).result()
