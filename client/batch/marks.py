"""Marks in a text: `[voice:anna]` until the next one, `[/voice]` back to the first voice, `[pause:0.5s]` for
silence."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import regex

MAX_PAUSE_S: Final = 10.0
_MARK: Final = regex.compile(
    r"\[(?:voice:\s*(?P<voice>[^\[\]\n]{1,400}?)\s*"
    r"|(?P<end>/voice)"
    r"|pause:\s*(?P<length>[0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})\s*(?P<unit>ms|s)\s*)\]",
    regex.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class VoiceMark:
    """Switches to this voice; None: the voice of the item."""

    voice: str | None


@dataclass(frozen=True, slots=True)
class PauseMark:
    """Silence of at most 10 s."""

    seconds: float


def split_marks(text: str) -> Iterator[str | VoiceMark | PauseMark]:
    """The text between the marks, and the marks."""
    begin = 0
    for match in _MARK.finditer(text):
        if text[begin : match.start()].strip():
            yield text[begin : match.start()]
        if match["length"]:
            seconds = float(match["length"]) / (1000 if match["unit"].lower() == "ms" else 1)
            yield PauseMark(min(seconds, MAX_PAUSE_S))
        else:
            yield VoiceMark(match["voice"])
        begin = match.end()
    if text[begin:].strip():
        yield text[begin:]
