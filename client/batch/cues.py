"""Splits timed words into subtitle cues of a readable size."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Final

from speech_text.sentences import split_sentences

from .words import TimedText

Line = Sequence[TimedText]
Cue = Sequence[Line]

MAX_LINE_CHARS: Final = 42
MAX_CUE_S: Final = 7.0
_MAX_CHARS: Final = 2 * MAX_LINE_CHARS
_QUOTES: Final = "\"'”’»)]"
_CLAUSE_ENDS: Final = (",", ";", ":", "—", "–")


def split_cues(words: Sequence[TimedText]) -> Iterator[Cue]:
    """Cues of at most two lines of 42 characters and 7 s, except that a longer word is a cue by itself. Of all ways to
    split, the cheapest: few cues of similar length that end where a sentence or a clause ends."""
    breaks = _break_costs(words)
    best = [(0.0, 0)]  # for each number of words: the cost of their cues, and the first word of the last cue
    for end in range(1, len(words) + 1):
        last = breaks[end - 1] if end < len(words) else 0.0
        best.append(min((best[begin][0] + _cost(words[begin:end]) + last, begin) for begin in _begins(words, end)))
    bounds = [len(words)]
    while bounds[-1]:
        bounds.append(best[bounds[-1]][1])
    for begin, end in pairwise(reversed(bounds)):
        yield _lines(words[begin:end], breaks[begin:end])


def _break_costs(words: Sequence[TimedText]) -> list[float]:
    """The cost of a break after each word: 0 at the end of a sentence, 1 within a clause."""
    ends = {*accumulate(map(len, split_sentences(" ".join(each.text for each in words))))}
    positions = accumulate(len(each.text) + 1 for each in words)
    return [
        0.0 if position in ends else 0.2 if word.text.rstrip(_QUOTES).endswith(_CLAUSE_ENDS) else 1.0
        for word, position in zip(words, positions, strict=True)
    ]


def _begins(words: Sequence[TimedText], end: int) -> Iterator[int]:
    """The possible first words of a cue that ends before word `end`."""
    yield end - 1
    for begin in range(end - 2, -1, -1):
        cue = words[begin:end]
        if cue[-1].end_s - cue[0].begin_s > MAX_CUE_S or not _fits(cue):
            return
        yield begin


def _fits(words: Sequence[TimedText]) -> bool:
    """Whether the words fit into two lines."""
    ends = accumulate((len(each.text) + 1 for each in words), initial=-1)  # the width of each number of words
    first = sum(end <= MAX_LINE_CHARS for end in ends) - 1
    return _width(words[first:]) <= MAX_LINE_CHARS


def _cost(words: Sequence[TimedText]) -> float:
    """The cost of a cue: higher if it is shorter."""
    return 1 + (max(0, _MAX_CHARS - _width(words)) / _MAX_CHARS) ** 2


def _lines(words: Sequence[TimedText], breaks: Sequence[float]) -> Cue:
    """One line, or the two most even ones; a clause that ends near the middle ends the first line."""
    if _width(words) <= MAX_LINE_CHARS or len(words) == 1:
        return (words,)

    def badness(middle: int) -> float:
        longer = max(_width(words[:middle]), _width(words[middle:]))
        if longer > MAX_LINE_CHARS:
            return longer
        return longer / MAX_LINE_CHARS + breaks[middle - 1] / 2

    middle = min(range(1, len(words)), key=badness)
    return words[:middle], words[middle:]


def _width(words: Line) -> int:
    """The characters of a line, with its spaces."""
    return sum(len(each.text) + 1 for each in words) - 1
