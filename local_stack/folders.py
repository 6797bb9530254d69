"""Temporary folders that are always removed: those of a killed process by the next one.

A process holds a lock on each of its folders; the kernel releases it, however the process ends.
"""

import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from typing import Final

_LOCK: Final = ".lock"


class FolderLock:
    """Marks a folder as in use, until `release`."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        """Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def remove_abandoned(parent: Path, prefix: str) -> list[str]:
    """Remove folders with this prefix whose process has ended; returns their names."""
    removed = []
    for folder in parent.glob(f"{prefix}*"):
        # Folders of other users, or without a lock yet, are left alone.
        with contextlib.suppress(OSError):
            file = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder.name)
            finally:
                os.close(file)
    return removed
