"""Subtitles, `srt` or `vtt`, written during synthesis, one cue for each utterance."""

import html
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HEADS: Final = {"vtt": "WEBVTT\n\n", "srt": ""}


@dataclass(frozen=True, slots=True)
class Caption:
    """The text of a recording from `begin_s` to `end_s`."""

    begin_s: float
    end_s: float
    text: str


class CaptionWriter:
    """A file of captions, complete or absent."""

    def __init__(self, path: Path, kind: str) -> None:
        self._path, self._kind, self._count = path, kind, 0
        self._unfinished = path.with_name(f".{path.name}.part")
        self._file = self._unfinished.open("w", encoding="utf-8", newline="\n")
        self._file.write(_HEADS[kind])

    def write(self, caption: Caption) -> None:
        """Append a caption."""
        self._count += 1
        point = "," if self._kind == "srt" else "."
        text = " ".join(caption.text.split())
        if self._kind == "vtt":
            # The text of a book is not markup, and `-->` would start another cue.
            text = html.escape(text, quote=False)
        elif "-->" in text:
            text = text.replace("-->", "->")
        separator = "\n" if self._count > 1 else ""
        times = f"{_time(caption.begin_s, point)} --> {_time(caption.end_s, point)}"
        self._file.write(f"{separator}{self._count}\n{times}\n{text}\n")

    def finish(self) -> None:
        """Complete the file and move it into place."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._unfinished.replace(self._path)

    def abort(self) -> None:
        """Remove the incomplete file."""
        self._file.close()
        self._unfinished.unlink(missing_ok=True)


def _time(seconds: float, point: str) -> str:
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
