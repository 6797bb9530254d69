"""The script of a request: segments, one utterance each, and the silences between them."""

from collections.abc import Iterator
from dataclasses import dataclass

from openai_frontend.errors import invalid
from openai_frontend.synthesis.pauses import split_pauses
from speech_protocol.audio import SAMPLE_RATE_HZ
from speech_text.segments import is_spoken, pause_after_s, split_segments


@dataclass(frozen=True, slots=True)
class Silence:
    """A pause between segments."""

    samples: int


Script = tuple[str | Silence, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """The position of a segment in its script: `number` of `count`, counted from 0, and its text."""

    number: int
    count: int
    text: str


def write_script(text: str) -> Script:
    """Split a text at its pause marks, and overlong parts into segments with natural pauses.

    Segments are stripped of white space; one without a letter or a digit is not synthesized. Raises ApiError 400 if
    only pauses remain.
    """
    parts = split_pauses(text)
    script: list[str | Silence] = []
    for part in parts:
        script += [Silence(part)] if isinstance(part, int) else _speech(part)
    if any(isinstance(part, str) for part in script):
        return tuple(script)
    if script or not parts:
        raise invalid("input", "The input has nothing to speak. Send at least one word.", "empty_input")
    # Marks and symbols only: the model may be able to read them.
    return tuple(segment.strip() for segment in split_segments(text))


def _speech(text: str) -> Iterator[str | Silence]:
    """Segments with pauses between them."""
    segments = [segment for segment in split_segments(text) if is_spoken(segment)]
    for number, segment in enumerate(segments):
        if number:
            yield Silence(round(pause_after_s(segments[number - 1]) * SAMPLE_RATE_HZ))
        yield segment.strip()
