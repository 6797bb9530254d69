"""Text files beside the audio, written during synthesis: subtitles as `srt` or `vtt`, and word times as JSON."""

import html
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from .cues import Cue, Line, split_cues
from .words import TimedText

_HEADS: Final = {"vtt": "WEBVTT\n\n", "srt": ""}


class Sidecar(Protocol):
    """A text file beside a recording."""

    def write(self, utterance: TimedText, words: Sequence[TimedText]) -> None:
        """Append an utterance; `words` are its words if their times are requested."""

    def finish(self) -> None:
        """Complete the file and move it into place."""

    def abort(self) -> None:
        """Remove the incomplete file."""


class _TextFile:
    """A file that is complete or absent."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unfinished = path.with_name(f".{path.name}.part")
        self._file = self._unfinished.open("w", encoding="utf-8", newline="\n")

    def write(self, text: str) -> None:
        self._file.write(text)

    def finish(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._unfinished.replace(self._path)

    def abort(self) -> None:
        self._file.close()
        self._unfinished.unlink(missing_ok=True)


class CaptionWriter:
    """Subtitles: a cue for each utterance, or with word times cues of a readable size; `vtt` has the time of each word
    in them."""

    def __init__(self, path: Path, kind: str) -> None:
        self._file, self._kind, self._count = _TextFile(path), kind, 0
        self._file.write(_HEADS[kind])

    def write(self, utterance: TimedText, words: Sequence[TimedText] = ()) -> None:
        """Append the cues of an utterance."""
        for cue in split_cues(words) if words else (((utterance,),),):
            self._write_cue(cue)

    def _write_cue(self, cue: Cue) -> None:
        self._count += 1
        point = "," if self._kind == "srt" else "."
        separator = "\n" if self._count > 1 else ""
        times = f"{_time(_milliseconds(cue[0][0].begin_s), point)} --> {_time(_milliseconds(cue[-1][-1].end_s), point)}"
        text = "\n".join(_srt_lines(cue) if self._kind == "srt" else _vtt_lines(cue))
        self._file.write(f"{separator}{self._count}\n{times}\n{text}\n")

    def finish(self) -> None:
        """Complete the file and move it into place."""
        self._file.finish()

    def abort(self) -> None:
        """Remove the incomplete file."""
        self._file.abort()


class WordWriter:
    """Word times as JSON: `{"words": [{"word", "start", "end"}]}`, in seconds, one word a line."""

    def __init__(self, path: Path) -> None:
        self._file, self._separator = _TextFile(path), ""
        self._file.write('{"words": [')

    def write(self, utterance: TimedText, words: Sequence[TimedText]) -> None:
        """Append the words of an utterance."""
        for word in words:
            fields = {"word": word.text, "start": round(word.begin_s, 3), "end": round(word.end_s, 3)}
            self._file.write(f"{self._separator}\n{json.dumps(fields, ensure_ascii=False)}")
            self._separator = ","

    def finish(self) -> None:
        """Complete the file and move it into place."""
        self._file.write("\n]}\n")
        self._file.finish()

    def abort(self) -> None:
        """Remove the incomplete file."""
        self._file.abort()


def _srt_lines(cue: Cue) -> list[str]:
    return [_text(line).replace("-->", "->") for line in cue]


def _vtt_lines(cue: Cue) -> list[str]:
    """The lines of a cue, with a time tag before each word that begins later than the one before."""
    last_ms, end_ms = _milliseconds(cue[0][0].begin_s), _milliseconds(cue[-1][-1].end_s)
    lines = []
    for line in cue:
        parts = []
        for word in line:
            begin_ms = _milliseconds(word.begin_s)
            # Tags must increase, and lie within the cue.
            tag = f"<{_time(begin_ms, '.')}>" if last_ms < begin_ms < end_ms else ""
            last_ms = begin_ms if tag else last_ms
            # The text of a book is not markup, and `-->` would start another cue.
            parts.append(tag + html.escape(_text((word,)), quote=False))
        lines.append(" ".join(parts))
    return lines


def _text(line: Line) -> str:
    return " ".join(" ".join(each.text for each in line).split())


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _time(milliseconds: int, point: str) -> str:
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
