"""A warm standby: the weights of an unloaded model stay in host memory, so that its next load does not read the disk.

The files are mapped and locked, which uses no memory twice: the model's process maps the same pages. If the system's
limit on locked memory is too low, the pages are read periodically instead, which keeps them in the page cache while
memory is not needed elsewhere.
"""

import asyncio
import ctypes
import logging
import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

import numpy as np

logger = logging.getLogger(__name__)

_AGAIN_S: Final = 60.0


def weights_of(checkpoint: str) -> list[Path]:
    """The readable files on this machine of a checkpoint (a folder or a hub id), with links resolved."""
    folder = Path(checkpoint)
    if not os.path.isdir(folder):  # also False without permission
        hub = Path(os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface") / "hub"
        folder = hub / f"models--{checkpoint.replace('/', '--')}" / "snapshots"
    try:
        return sorted({file.resolve() for file in folder.rglob("*.safetensors")})
    except OSError as error:
        logger.warning("%s cannot be read: %s", folder, error.strerror)
        return []


class WeightPinner:
    """Keeps the weights of `checkpoints` in memory; use it as an async context manager. Missing files, such as an
    unfinished download, are searched for every minute."""

    def __init__(self, checkpoints: Iterable[str]) -> None:
        self._checkpoints = tuple(checkpoints)
        self._held: dict[Path, mmap.mmap] = {}
        self._unlocked: set[Path] = set()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._checkpoints:
            self._task = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        for pages in self._held.values():
            pages.close()

    async def _keep(self) -> None:
        while True:
            await asyncio.to_thread(self._hold)
            await asyncio.sleep(_AGAIN_S)

    def _hold(self) -> None:
        for file in (file for checkpoint in self._checkpoints for file in weights_of(checkpoint)):
            try:
                if file not in self._held:
                    with file.open("rb") as data:
                        self._held[file] = mmap.mmap(data.fileno(), 0, access=mmap.ACCESS_READ)
                    if not _lock(self._held[file]):
                        self._unlocked.add(file)
                    how = "unlocked" if file in self._unlocked else "locked"
                    logger.info("holding %s in memory, %d MiB, %s", file.name, len(self._held[file]) >> 20, how)
                if file in self._unlocked:
                    self._held[file].madvise(mmap.MADV_WILLNEED)
            except (OSError, ValueError) as error:
                logger.warning("%s cannot be held in memory: %s", file.name, error)


def _lock(pages: mmap.mmap) -> bool:
    """Read and lock every page; false if the system's limit on locked memory is too low."""
    try:
        mlock = ctypes.CDLL(None, use_errno=True).mlock
    except (OSError, AttributeError):
        return False
    mlock.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    return bool(mlock(np.frombuffer(pages, np.uint8).ctypes.data, len(pages)) == 0)
