"""A limit on the memory of all request bodies, and the release of that memory to the system."""

import ctypes
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from openai_frontend.errors import ApiError

logger = logging.getLogger(__name__)

# Ordinary speech requests are smaller than this. An eighth of the memory is reserved for them.
SMALL_BODY_BYTES: Final = 64 * 1024
_SHARE_OF_SMALL: Final = 8
# glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD. By default, glibc raises both to the size of the largest freed block,
# up to 32 MiB, and from then on keeps freed bodies in its heap.
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_BLOCK_BYTES: Final = 256 * 1024


class BodyMemory:
    """A memory limit in bytes. A body holds the bytes received so far until its reply begins."""

    def __init__(self, limit_bytes: int, trim: Callable[[], None] | None = None) -> None:
        self._limit_bytes = limit_bytes
        self._trim = trim or _trimmer()
        self._peak_bytes = 0
        self.held_bytes = 0

    @property
    def largest_body_bytes(self) -> int:
        """The maximum size of a body while no other one is held."""
        return self._limit(self._limit_bytes)

    def check(self, declared_bytes: int) -> None:
        """Raise ApiError 503 if a body of this size would not fit now."""
        if self.held_bytes + declared_bytes > self._limit(declared_bytes):
            message = "The memory for request bodies is exhausted. Retry later."
            raise ApiError(503, "server_overloaded", message, headers={"Retry-After": "2"})

    @contextmanager
    def lease(self) -> Iterator["BodyLease"]:
        """A lease for one body; the bytes that it still holds are released at the end."""
        lease = BodyLease(self)
        try:
            yield lease
        finally:
            lease.release()

    def take(self, more_bytes: int, body_bytes: int) -> None:
        """Raises ApiError 503."""
        if self.held_bytes + more_bytes > self._limit(body_bytes):
            self.check(self._limit_bytes + 1)
        self.held_bytes += more_bytes
        self._peak_bytes = max(self._peak_bytes, self.held_bytes)

    def give_back(self, count_bytes: int) -> None:
        """Release bytes."""
        self.held_bytes -= count_bytes
        if not self.held_bytes and self._peak_bytes >= self._limit_bytes // _SHARE_OF_SMALL:
            self._peak_bytes = 0
            self._trim()

    def _limit(self, body_bytes: int) -> int:
        reserved = 0 if body_bytes <= SMALL_BODY_BYTES else self._limit_bytes // _SHARE_OF_SMALL
        return self._limit_bytes - reserved


class BodyLease:
    """The memory held by one body."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._held_bytes = 0

    def take(self, count_bytes: int) -> None:
        """Raises ApiError 503 if `size` more bytes do not fit."""
        self._memory.take(count_bytes, self._held_bytes + count_bytes)
        self._held_bytes += count_bytes

    def release(self) -> None:
        """Release all bytes. Idempotent."""
        held, self._held_bytes = self._held_bytes, 0
        if held:
            self._memory.give_back(held)


def return_freed_memory() -> None:
    """Make the C library return every freed block of a body's size to the system immediately (glibc)."""
    if libc := _glibc():
        libc.mallopt(_MMAP_THRESHOLD, _BLOCK_BYTES)
        libc.mallopt(_TRIM_THRESHOLD, _BLOCK_BYTES)


def _trimmer() -> Callable[[], None]:
    libc = _glibc()
    if libc is None:
        return lambda: None
    return lambda: logger.debug("memory was given back: %s", bool(libc.malloc_trim(0)))


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") else None
