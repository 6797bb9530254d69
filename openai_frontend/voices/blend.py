"""The syntax of a blend: voices and weights, such as `anna(2)+bob(1)`; the default weight is 1."""

import math
import re
from dataclasses import dataclass
from typing import Final

from openai_frontend.errors import invalid
from speech_protocol.request import MAX_BLEND_PARTS

MAX_WEIGHT: Final = 1000.0
_WEIGHT: Final = re.compile(r"\d{1,20}\.?\d{0,20}|\.\d{1,20}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Part:
    """A voice of a blend, by id or name; the weights of a blend sum to 1."""

    name: str
    weight: float


def is_blend(voice: str) -> bool:
    """Whether `voice`, which is not a known name, can only be a blend."""
    return "+" in voice or voice.rstrip().endswith(")")


def parse_blend(voice: str) -> tuple[Part, ...]:
    """The parts of a blend. Raises ApiError 400."""
    pieces = [piece.strip() for piece in voice.split("+")]
    if len(pieces) > MAX_BLEND_PARTS:
        raise invalid("voice", f"A blend has at most {MAX_BLEND_PARTS} voices, this one has {len(pieces)}. Use fewer.")
    parts = [_part(piece, voice) for piece in pieces]
    total = math.fsum(part.weight for part in parts)
    return tuple(Part(part.name, part.weight / total) for part in parts)


def _part(piece: str, voice: str) -> Part:
    # Parsed by hand: a regular expression for it takes quadratic time.
    name, weight = piece, 1.0
    if piece.endswith(")"):
        before, _, inside = piece[:-1].rpartition("(")
        if before.strip() and _WEIGHT.fullmatch(inside.strip()):
            name, weight = before.strip(), float(inside)
    if not name:
        raise invalid("voice", f"'{voice}' is not a blend. Write one like 'anna(2)+bob(1)'.")
    if not 0 < weight <= MAX_WEIGHT:
        raise invalid("voice", f"The weight of '{name}' must be over 0 and at most {MAX_WEIGHT:g}.")
    return Part(name, weight)
