"""A lock for installations beside the tests' Python, since test files run in several processes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


@contextmanager
def installing(what: str) -> Iterator[None]:
    """Hold the lock of that name; look again whether it is installed once it is held."""
    with FileLock(Path(sys.prefix) / f".{what}.lock", timeout=900):
        yield
