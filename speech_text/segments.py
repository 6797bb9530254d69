"""Splits a text into segments, one utterance each, and determines the pause between two of them."""

from collections.abc import Iterator
from typing import Final

import regex

from speech_text.sentences import SPLITTERS, ends_paragraph, ends_sentence

# Capacity of one utterance, in Latin letters: about 20 s of speech, the length that models handle best. A Chinese or
# Japanese character takes as long as three of them, a Korean syllable as two.
SEGMENT_WIDTH: Final = 300
# The first segment is short, so that an engine that synthesizes whole utterances starts early.
FIRST_SEGMENT_WIDTH: Final = 100
SENTENCE_PAUSE_S: Final = 0.45
PARAGRAPH_PAUSE_S: Final = 0.8
CLAUSE_PAUSE_S: Final = 0.2

_THREE_WIDE: Final = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")
_TWO_WIDE: Final = regex.compile(r"\p{Hangul}")
_SPOKEN: Final = regex.compile(r"[\p{L}\p{N}]")


def split_segments(text: str, first_width: int = FIRST_SEGMENT_WIDTH) -> list[str]:
    """The pieces of a text that fit into one utterance each, split at the best available places; concatenated, they are
    the text. The first one is no wider than `first_width` if a sentence ends before."""
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
    """Whether the text contains a letter or a digit."""
    return _SPOKEN.search(segment) is not None


def pause_after_s(segment: str) -> float:
    """Seconds of silence between a segment, its white space included, and the next one."""
    if ends_paragraph(segment):
        return PARAGRAPH_PAUSE_S
    return SENTENCE_PAUSE_S if ends_sentence(segment) else CLAUSE_PAUSE_S


def text_width(text: str) -> int:
    """The speaking length of a text, in Latin letters."""
    return len(text) + 2 * len(_THREE_WIDE.findall(text)) + len(_TWO_WIDE.findall(text))


def _fitting(text: str, level: int) -> Iterator[str]:
    """Pieces that fit into a segment, split at the best possible level; a grapheme is never split."""
    if text_width(text) <= SEGMENT_WIDTH or level == len(SPLITTERS):
        yield text
        return
    for piece in SPLITTERS[level](text):
        yield from _fitting(piece, level + 1)
