"""Pause marks in a text: `[pause:0.5s]` and `[pause:500ms]` become silence of that length.

Text that only resembles a mark (`[pause]`, `[pause:abc]`, `[pause:1]`) is ordinary text.
"""

import re
from collections.abc import Iterator
from typing import Final

from openai_frontend.errors import invalid
from speech_protocol.audio import SAMPLE_RATE_HZ

MAX_PAUSE_S: Final = 10.0
MAX_TOTAL_PAUSE_S: Final = 600.0
_MARK: Final = re.compile(r"\[pause:\s*([0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})\s*(ms|s)\s*\]", re.IGNORECASE)


def split_pauses(text: str) -> list[str | int]:
    """The text between the marks, and each mark as a number of samples; empty text is omitted.

    Raises ApiError 400 for a pause over 10 s, or 600 s of pauses in total.
    """
    parts: list[str | int] = []
    begin = total_samples = 0
    for match in _MARK.finditer(text):
        samples = _samples(match)
        total_samples += samples
        parts += [*_nonempty(text[begin : match.start()]), samples]
        begin = match.end()
    if total_samples > MAX_TOTAL_PAUSE_S * SAMPLE_RATE_HZ:
        message = f"The pauses of the input last {total_samples / SAMPLE_RATE_HZ:g} s together."
        raise invalid("input", f"{message} At most {MAX_TOTAL_PAUSE_S:g} s are allowed: shorten them.")
    return [*parts, *_nonempty(text[begin:])]


def _samples(match: re.Match[str]) -> int:
    seconds = float(match[1]) / (1000 if match[2].lower() == "ms" else 1)
    if seconds > MAX_PAUSE_S:
        raise invalid("input", f"{match[0]} is longer than {MAX_PAUSE_S:g} s. Write several, or a shorter one.")
    return round(seconds * SAMPLE_RATE_HZ)


def _nonempty(text: str) -> Iterator[str]:
    if text.strip():
        yield text
