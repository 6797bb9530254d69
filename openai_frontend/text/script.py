"""A request's text as what is to be done with it: segments to speak, one utterance each, and silences between them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import regex

from openai_frontend.errors import invalid
from openai_frontend.text.pauses import split_pauses
from openai_frontend.text.sentences import SPLITTERS, ends_paragraph, ends_sentence
from speech_protocol.audio import SAMPLE_RATE_HZ

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


@dataclass(frozen=True, slots=True)
class Silence:
    """A pause between segments."""

    samples: int


Script = tuple[str | Silence, ...]


def write_script(text: str) -> Script:
    """Cut a text at its pause marks, and what is too long for one utterance into segments with natural pauses.

    Segments come without the white space around them; one without a letter or a digit is not spoken. Raises ApiError
    400 where nothing is left to speak but pauses.
    """
    parts = split_pauses(text)
    script: list[str | Silence] = []
    for part in parts:
        script += [Silence(part)] if isinstance(part, int) else _speech(part)
    if any(isinstance(part, str) for part in script):
        return tuple(script)
    if script or not parts:
        raise invalid("input", "The input has nothing to speak. Send at least one word.", "empty_input")
    # Marks and symbols only: the model may know what to make of them.
    return tuple(segment.strip() for segment in split_segments(text))


def split_segments(text: str) -> list[str]:
    """The pieces of a text that fit an utterance each, cut at the best places there are; joined, they are the text."""
    segments: list[str] = []
    segment, width = "", 0
    for piece in _fitting(text, level=0):
        piece_width = _width(piece)
        limit = SEGMENT_WIDTH if segments else FIRST_SEGMENT_WIDTH
        ends = width >= FIRST_SEGMENT_WIDTH and ends_paragraph(segment)
        if segment and (ends or width + piece_width > limit):
            segments.append(segment)
            segment, width = "", 0
        segment += piece
        width += piece_width
    return [*segments, segment]


def _speech(text: str) -> Iterator[str | Silence]:
    """Segments with a pause between two of them."""
    segments = [segment for segment in split_segments(text) if _SPOKEN.search(segment)]
    for number, segment in enumerate(segments):
        if number:
            yield _pause_after(segments[number - 1])
        yield segment.strip()


def _pause_after(segment: str) -> Silence:
    if ends_paragraph(segment):
        seconds = PARAGRAPH_PAUSE_S
    else:
        seconds = SENTENCE_PAUSE_S if ends_sentence(segment) else CLAUSE_PAUSE_S
    return Silence(round(seconds * SAMPLE_RATE_HZ))


def _fitting(text: str, level: int) -> Iterator[str]:
    """Pieces that fit a segment, each cut no worse than it must be; a grapheme is never cut."""
    if _width(text) <= SEGMENT_WIDTH or level == len(SPLITTERS):
        yield text
        return
    for piece in SPLITTERS[level](text):
        yield from _fitting(piece, level + 1)


def _width(text: str) -> int:
    """How long a text is to say, in Latin letters."""
    return len(text) + 2 * len(_THREE_WIDE.findall(text)) + len(_TWO_WIDE.findall(text))
