"""Temporary folders of which none stays behind: what a killed process left is removed by the next one.

A process holds a lock on each of its folders, which the kernel takes from it however it ends.
"""

import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from typing import Final

_LOCK: Final = ".lock"


class FolderLock:
    """Marks a folder as one that is in use, until `release`."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        """Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def remove_abandoned(parent: Path, prefix: str) -> list[str]:
    """Remove the folders of this prefix that were in use and whose process has ended; their names."""
    removed = []
    for folder in parent.glob(f"{prefix}*"):
        # One of another user, or one that has no lock yet, is left alone.
        with contextlib.suppress(OSError):
            file = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder.name)
            finally:
                os.close(file)
    return removed
