"""Atomic folders on disk, shared by any number of processes.

An entry is a folder of files and a `metadata.json`. It is written under a hidden name, synced, then renamed into place;
to remove it, it is renamed to a hidden name, and then its files are deleted. So a reader sees a complete entry or none,
whenever a process is killed. Folders are 0700, files 0600.
"""

import json
import logging
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from filelock import FileLock

from openai_frontend.voices.failures import storage_failure

logger = logging.getLogger(__name__)

METADATA: Final = "metadata.json"
_DRAFT: Final = ".new-"
_GRAVE: Final = ".gone-"
# Drafts are written in seconds; an older one was left by a killed process.
_DRAFT_LIMIT_S: Final = 3600.0
# The lock is held for milliseconds, but among many waiting processes the next holder is random.
_LOCK_TIMEOUT_S: Final = 30.0
_LOCK_POLL_S: Final = 0.01
# Two changes of a folder within a tick of the kernel's clock have the same time.
_TICK_NS: Final = 100_000_000

T = TypeVar("T")


class Store(Generic[T]):
    """The entries below one folder, which is created with the first entry. `parse` builds an entry from an id and
    metadata, and raises KeyError, TypeError or ValueError if it can't. Every lookup uses the names in the folder, so an
    id from a client never becomes a path. Any thread may call."""

    def __init__(self, folder: Path, prefix: str, lock: Path, parse: Callable[[str, Mapping[str, Any]], T]) -> None:
        """`lock`: a file that every process with this store locks to change it; its folder must be an ancestor."""
        self._folder = folder
        self._prefix = prefix
        self._id = re.compile(rf"{re.escape(prefix)}[0-9a-f]{{32}}")
        self._lock_path = lock
        self._parse = parse
        self._refreshing = threading.Lock()
        self._seen_ns: int | None = None
        self._states: dict[str, tuple[tuple[int, int], T | None, int]] = {}
        self._entries: Mapping[str, T] = MappingProxyType({})
        self._size_bytes = 0

    def new_id(self) -> str:
        """A random, unused id."""
        return self._prefix + secrets.token_hex(16)

    def entries(self) -> Mapping[str, T]:
        """All complete entries by id, as currently on disk; costs one `stat` if nothing has changed."""
        with self._refreshing:
            self._refresh()
            return self._entries

    def size_bytes(self) -> int:
        """The size of all entries' files in bytes, without metadata."""
        with self._refreshing:
            self._refresh()
            return self._size_bytes

    def add(
        self, entry_id: str, metadata: Mapping[str, Any], files: Mapping[str, bytes], admit: Callable[[], None]
    ) -> T:
        """Write an entry. `admit` is called while no other process can add one, and may raise to reject it; nothing is
        then stored. Raises ApiError if the disk fails."""
        values = {**metadata, "files": {name: len(data) for name, data in files.items()}}
        with storage_failure(self._folder):
            _make_folder(self._lock_path.parent)
            _make_folder(self._folder)
            self._sweep()
            draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=self._folder))
            try:
                for name, data in {**files, METADATA: _to_json(values)}.items():
                    _write(draft / name, data)
                _sync(draft)
                with self._lock():
                    admit()
                    draft.rename(self._folder / entry_id)
                _sync(self._folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)  # already removed, unless something failed
        return self._parse(entry_id, values)

    def update(self, entry_id: str, changes: Mapping[str, Any], admit: Callable[[], None] = lambda: None) -> T | None:
        """Change the metadata of an entry; None if it does not exist (any more). `admit` is called while no other
        process can change or add an entry, and may raise to reject the change. Raises ApiError."""
        if entry_id not in self.entries():
            return None
        folder = self._folder / entry_id
        with storage_failure(self._folder):
            try:
                with self._lock():
                    admit()
                    values = {**json.loads((folder / METADATA).read_text(encoding="utf-8")), **changes}
                    draft = folder / f"{_DRAFT}{secrets.token_hex(4)}"
                    _write(draft, _to_json(values))
                    draft.rename(folder / METADATA)
                _sync(folder)
                # Other processes only check the time of this folder.
                os.utime(self._folder)
            except FileNotFoundError:
                return None
        return self._parse(entry_id, values)

    def remove(self, entry_id: str) -> bool:
        """Remove an entry; False if it does not exist (any more). Raises ApiError."""
        if entry_id not in self.entries():
            return False
        grave = self._folder / f"{_GRAVE}{secrets.token_hex(8)}"
        with storage_failure(self._folder):
            try:
                (self._folder / entry_id).rename(grave)
            except FileNotFoundError:
                return False
            _sync(self._folder)
        shutil.rmtree(grave, ignore_errors=True)  # remaining files are removed by the next writer
        return True

    def read(self, entry_id: str, file: str) -> bytes:
        """A file of an entry in `entries`. Raises OSError."""
        return (self._folder / entry_id / file).read_bytes()

    def _lock(self) -> FileLock:
        return FileLock(self._lock_path, timeout=_LOCK_TIMEOUT_S, poll_interval=_LOCK_POLL_S, mode=0o600)

    def _refresh(self) -> None:
        try:
            changed_ns = self._folder.stat().st_mtime_ns
            if changed_ns == self._seen_ns:
                return
            # Read before the scan: a change during the scan is then detected by the next one.
            looked_ns = time.time_ns()
            found = os.listdir(self._folder)
        except FileNotFoundError:
            found, changed_ns, looked_ns = [], 0, 0
        except OSError as error:
            logger.warning("%s cannot be read: %s", self._folder, error.strerror)
            return
        states = {}
        for name in filter(self._id.fullmatch, found):
            try:
                stat = (self._folder / name).stat()
            except OSError:
                continue  # removed just now
            signature = (stat.st_ino, stat.st_mtime_ns)
            known = self._states.get(name)
            if known is not None and known[0] == signature and known[1] is not None:
                states[name] = known
            else:
                # Also retry a damaged entry: it may be an incomplete copy.
                report = known is None or known[0] != signature
                states[name] = (signature, *self._open(name, logging.WARNING if report else logging.DEBUG))
        self._states = states
        self._entries = MappingProxyType({name: entry for name, (_, entry, _) in states.items() if entry is not None})
        self._size_bytes = sum(size_bytes for _, _, size_bytes in states.values())
        self._seen_ns = changed_ns if looked_ns - changed_ns > _TICK_NS else None

    def _open(self, name: str, level: int) -> tuple[T | None, int]:
        """The entry and its size; None if it is damaged, which is logged at `level`."""
        folder = self._folder / name
        try:
            values = json.loads((folder / METADATA).read_text(encoding="utf-8"))
            sizes = {file: (folder / file).stat().st_size for file in values["files"]}
            if sizes != values["files"]:
                raise ValueError(f"its files have {sizes} bytes, not {values['files']}")
            return self._parse(name, values), sum(sizes.values())
        except FileNotFoundError as error:
            if folder.exists():  # otherwise it was removed just now
                logger.log(level, "%s is damaged and skipped: %s is missing", folder, Path(error.filename).name)
        except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            logger.log(level, "%s is damaged and skipped: %s: %s", folder, type(error).__name__, error)
        return None, 0

    def _sweep(self) -> None:
        """Remove the files of killed processes."""
        with os.scandir(self._folder) as found:
            for entry in found:
                # Other processes clean up and rename at the same time.
                with suppress(FileNotFoundError):
                    old = time.time() - entry.stat().st_mtime > _DRAFT_LIMIT_S
                    if entry.name.startswith(_GRAVE) or (entry.name.startswith(_DRAFT) and old):
                        shutil.rmtree(entry.path, ignore_errors=True)


def _make_folder(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def _write(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _to_json(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, indent=2).encode()
