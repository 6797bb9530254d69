"""Runs work in a thread that ends with it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def run_in_temporary_thread(work: Callable[[], T]) -> T:
    """What `work` returns or raises.

    A thread that has computed on a CPU keeps its OpenMP threads until it ends, and as soon as all threads together have
    more of them than there are cores, each sleeps between two operations instead of looking out for the next: the
    engine's steps then take half as long again. So only the engine's own thread may live on.
    """
    with ThreadPoolExecutor(1, "passing") as pool:
        return pool.submit(work).result()
