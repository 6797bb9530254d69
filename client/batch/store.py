"""What is done already: each utterance's PCM in a file named by its key, and a manifest for people.

A file appears whole or not at all, so what is there is done, whatever happened to the run that made it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_MANIFEST: Final = "manifest.json"


class Store:
    """The working folder of one output folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def has(self, key: str) -> bool:
        return self._path(key).exists()

    def read(self, key: str) -> bytes:
        """The PCM of an utterance that is there: s16le, mono, 24 kHz."""
        return self._path(key).read_bytes()

    def keep(self, key: str, pcm: bytes) -> None:
        write_whole(self._path(key), pcm)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        write_whole(self._folder / _MANIFEST, (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())

    def forget(self) -> None:
        """Remove all of it."""
        for file in self._folder.iterdir():
            file.unlink()
        self._folder.rmdir()

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.pcm"


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, a crash of the machine included."""
    unfinished = path.with_name(f".{path.name}.part")
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
