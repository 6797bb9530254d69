"""A text in segments, one utterance each, and how long the silence between two of them is."""

from collections.abc import Iterator
from typing import Final

import regex

from speech_text.sentences import SPLITTERS, ends_paragraph, ends_sentence

# What one utterance may hold, in Latin letters: about 20 s of speech, where models are at their best. A Chinese or
# Japanese character is as long to say as three of them, a Korean syllable as two.
SEGMENT_WIDTH: Final = 300
# The first segment is short, so that an engine which speaks whole utterances is heard soon.
FIRST_SEGMENT_WIDTH: Final = 100
SENTENCE_PAUSE_S: Final = 0.45
PARAGRAPH_PAUSE_S: Final = 0.8
CLAUSE_PAUSE_S: Final = 0.2

_THREE_WIDE: Final = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")
_TWO_WIDE: Final = regex.compile(r"\p{Hangul}")
_SPOKEN: Final = regex.compile(r"[\p{L}\p{N}]")


def split_segments(text: str, first_width: int = FIRST_SEGMENT_WIDTH) -> list[str]:
    """The pieces of a text that fit an utterance each, cut at the best places there are; joined, they are the text. The
    first one is no wider than `first_width` where a sentence ends before."""
    segments: list[str] = []
    segment, width = "", 0
    for piece in _fitting(text, level=0):
        piece_width = text_width(piece)
        limit = SEGMENT_WIDTH if segments else first_width
        ends = width >= FIRST_SEGMENT_WIDTH and ends_paragraph(segment)
        if segment and (ends or width + piece_width > limit):
            segments.append(segment)
            segment, width = "", 0
        segment += piece
        width += piece_width
    return [*segments, segment]


def is_spoken(segment: str) -> bool:
    """Whether there is a letter or a digit in it."""
    return _SPOKEN.search(segment) is not None


def pause_after_s(segment: str) -> float:
    """Seconds of silence between a segment, its white space included, and the next one."""
    if ends_paragraph(segment):
        return PARAGRAPH_PAUSE_S
    return SENTENCE_PAUSE_S if ends_sentence(segment) else CLAUSE_PAUSE_S


def text_width(text: str) -> int:
    """How long a text is to say, in Latin letters."""
    return len(text) + 2 * len(_THREE_WIDE.findall(text)) + len(_TWO_WIDE.findall(text))


def _fitting(text: str, level: int) -> Iterator[str]:
    """Pieces that fit a segment, each cut no worse than it must be; a grapheme is never cut."""
    if text_width(text) <= SEGMENT_WIDTH or level == len(SPLITTERS):
        yield text
        return
    for piece in SPLITTERS[level](text):
        yield from _fitting(piece, level + 1)
