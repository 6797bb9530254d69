"""The words of a text whose times are found, and the repair of times that are out of order."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import regex

# A Han character is a word. Kana is split where its script changes, which is where most words of Japanese begin.
_PARTS: Final = regex.compile(
    r"\p{Han}|\p{Katakana}[\p{Katakana}\u30fc]*|\p{Hiragana}+|[^\p{Han}\p{Katakana}\p{Hiragana}]+"
)
_FEW: Final = 2


@dataclass(frozen=True, slots=True)
class TextWord:
    """A word as in the text, with its marks, and as the model reads it: letters, digits and apostrophes."""

    shown: str
    read: str


def words_of(text: str) -> list[TextWord]:
    """The words of a text that have anything to read; marks without a word belong to the word before."""
    words: list[TextWord] = []
    for part in (part for space in text.split() for part in _PARTS.findall(space)):
        if read := "".join(filter(_is_read, part)):
            words.append(TextWord(part, read))
        elif words:
            words[-1] = TextWord(words[-1].shown + part, words[-1].read)
    return words


def _is_read(char: str) -> bool:
    return char == "'" or unicodedata.category(char)[0] in "LN"


def in_order(times: Sequence[float]) -> list[float]:
    """The times with those outside of a longest non-decreasing sequence replaced: by the nearest of it where few are
    wrong, else by steps between their neighbours."""
    kept = _longest_rise(times)
    if len(kept) == len(times):
        return list(times)
    repaired = list(times)
    for before, after in zip([None, *kept], [*kept, None], strict=True):
        first, end = (0 if before is None else before + 1), (len(times) if after is None else after)
        for place in range(first, end):
            repaired[place] = _between(times, before, after, place)
    return repaired


def _between(times: Sequence[float], before: int | None, after: int | None, place: int) -> float:
    if before is None or after is None:
        nearest = after if before is None else before
        assert nearest is not None
        return times[nearest]
    left, right = times[before], times[after]
    if after - before - 1 <= _FEW:
        return left if place - before <= after - place else right
    return left + (right - left) / (after - before) * (place - before)


def _longest_rise(times: Sequence[float]) -> list[int]:
    """The places of a longest non-decreasing sequence, the first of equal ones."""
    lengths = [1] * len(times)
    before: list[int | None] = [None] * len(times)
    for place, time in enumerate(times):
        for earlier in range(place):
            if times[earlier] <= time and lengths[earlier] + 1 > lengths[place]:
                lengths[place], before[place] = lengths[earlier] + 1, earlier
    found: list[int] = []
    last: int | None = lengths.index(max(lengths))
    while last is not None:
        found.append(last)
        last = before[last]
    return found[::-1]
