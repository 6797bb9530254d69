"""The syntax of a blend: `anna(2)+bob(1)`, voices and their weights; a weight that is left out is 1."""

import math
import re
from dataclasses import dataclass
from typing import Final

from openai_frontend.errors import invalid
from speech_protocol.request import MAX_BLEND_PARTS

MAX_WEIGHT: Final = 1000.0
_PART: Final = re.compile(r"(?P<name>.+?)\s*(?:\(\s*(?P<weight>\d+\.?\d*|\.\d+)\s*\))?", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Part:
    """A voice of a blend, by id or name; the weights of a blend sum up to 1."""

    name: str
    weight: float


def is_blend(voice: str) -> bool:
    """True where `voice`, which is no name, can only be meant as a blend."""
    return "+" in voice or voice.rstrip().endswith(")")


def parse_blend(voice: str) -> tuple[Part, ...]:
    """The parts of a blend. Raises ApiError 400."""
    pieces = [piece.strip() for piece in voice.split("+")]
    if len(pieces) > MAX_BLEND_PARTS:
        raise invalid(
            "voice", f"A blend has at most {MAX_BLEND_PARTS} voices, this one has {len(pieces)}. Leave some out."
        )
    parts = [_part(piece, voice) for piece in pieces]
    total = math.fsum(part.weight for part in parts)
    return tuple(Part(part.name, part.weight / total) for part in parts)


def _part(piece: str, voice: str) -> Part:
    match = _PART.fullmatch(piece)
    if match is None:
        raise invalid("voice", f"'{voice}' is not a blend. Write one like 'anna(2)+bob(1)'.")
    weight = float(match["weight"] or 1)
    if not 0 < weight <= MAX_WEIGHT:
        raise invalid("voice", f"The weight of '{match['name']}' must be over 0 and at most {MAX_WEIGHT:g}.")
    return Part(match["name"], weight)
