"""Finished work: each utterance's PCM in a file named by its key and checkpoint, its words in another one if the model
gave their times, and a readable manifest.

A file is complete or absent, so a file that exists is finished, however its run ended.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from speech_protocol.events import Word

from .voices import Job

_MANIFEST: Final = "manifest.json"
_NOTES: Final = "notes.jsonl"


@dataclass(frozen=True, slots=True)
class Speech:
    """An utterance: PCM (s16le, mono, 24 kHz), and its words in samples of it."""

    pcm: bytes
    words: tuple[Word, ...] = ()


class Store:
    """The working folder of an output folder. `needs_words`: an utterance without word times counts as missing."""

    def __init__(self, folder: Path, *, needs_words: bool = False) -> None:
        self._folder, self.needs_words = folder, needs_words
        folder.mkdir(parents=True, exist_ok=True)
        manifest = self._read_manifest()
        checkpoints = manifest.get("checkpoints")
        self._checkpoints: dict[str, str] = dict(checkpoints) if isinstance(checkpoints, dict) else {}
        self._manifest: dict[str, Any] = {}
        self.notes = self._read_notes()

    def checkpoint(self, model: str) -> str | None:
        """The checkpoint of a model's utterances; None before its first one."""
        return self._checkpoints.get(model)

    def use_checkpoint(self, model: str, checkpoint: str) -> None:
        """Set the checkpoint of a model's utterances; those of another one count as missing."""
        self._checkpoints[model] = checkpoint
        self.write_manifest(self._manifest)

    def has(self, job: Job) -> bool:
        """Whether the utterance is stored."""
        path = self._path(job)
        return path.exists() and (not self.needs_words or not path.stat().st_size or _words_path(path).exists())

    def read(self, job: Job) -> Speech:
        """A stored utterance; its words only if they are needed."""
        path = self._path(job)
        pcm = path.read_bytes()
        rows = json.loads(_words_path(path).read_bytes()) if self.needs_words and pcm else ()
        return Speech(pcm, tuple(Word(*row) for row in rows))

    def length_bytes(self, job: Job) -> int:
        """The size of a stored utterance in bytes."""
        return self._path(job).stat().st_size

    def keep(self, job: Job, pcm: bytes, note: str = "", words: Sequence[Word] = ()) -> None:
        """`note`: a remark to report, also in later runs; `words`: in samples of the PCM."""
        if note:
            self.notes[job.key] = note
            with (self._folder / _NOTES).open("a", encoding="utf-8") as file:
                file.write(json.dumps([job.key, note], ensure_ascii=False) + "\n")
        path = self._path(job)
        # The PCM last, since it makes the utterance count as finished.
        if words:
            rows = [(each.text, each.start, each.end) for each in words]
            write_whole(_words_path(path), json.dumps(rows, ensure_ascii=False).encode())
        else:
            _words_path(path).unlink(missing_ok=True)
        write_whole(path, pcm)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write the readable list of all utterances."""
        self._manifest = dict(manifest)
        whole = {**manifest, "checkpoints": self._checkpoints}
        write_whole(self._folder / _MANIFEST, (json.dumps(whole, indent=1, ensure_ascii=False) + "\n").encode())

    def forget(self) -> None:
        """Remove everything."""
        for file in self._folder.iterdir():
            file.unlink()
        self._folder.rmdir()

    def _path(self, job: Job) -> Path:
        checkpoint = self._checkpoints.get(job.voice.model, "")
        return self._folder / f"{job.key}.{hashlib.sha256(checkpoint.encode()).hexdigest()[:8]}.pcm"

    def _read_manifest(self) -> dict[str, Any]:
        try:
            manifest = json.loads((self._folder / _MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return manifest if isinstance(manifest, dict) else {}

    def _read_notes(self) -> dict[str, str]:
        notes: dict[str, str] = {}
        try:
            for line in (self._folder / _NOTES).read_text(encoding="utf-8").split("\n"):
                if line.strip():
                    key, note = json.loads(line)
                    notes[key] = note
        except (OSError, ValueError):
            pass  # a killed run may have left half a line
        return notes


def _words_path(path: Path) -> Path:
    return path.with_suffix(".words.json")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file completely or not at all, even if the machine crashes."""
    unfinished = path.with_name(f".{path.name}.part")
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
