"""The embedded voice's speakers, and the speaker for each voice name of OpenAI and Qwen3-TTS."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Speaker:
    """A built-in speaker of a model. `language`: the language or dialect of its recordings."""

    name: str
    gender: str
    language: str
    description: str


# Each is a separate model; the first is part of the hibari-tts package, the others are downloads of 8 MB.
HIBARI_SPEAKERS: Final = (
    Speaker("heart", "female", "english", "American English"),
    Speaker("kore", "female", "english", "American English, a second voice"),
    Speaker("fenrir", "male", "english", "American English"),
    Speaker("emma", "female", "english", "British English"),
    Speaker("fable", "male", "english", "British English"),
)
HIBARI_DEFAULT: Final = "heart"
# By gender, and by accent if the voice is known for one. The default speaker replaces speakers that are not downloaded.
HIBARI_STAND_INS: Final[Mapping[str, str]] = {
    "alloy": "heart",
    "ash": "fenrir",
    "ballad": "fable",
    "coral": "kore",
    "echo": "fenrir",
    "fable": "fable",
    "onyx": "fenrir",
    "nova": "heart",
    "sage": "kore",
    "shimmer": "kore",
    "verse": "fenrir",
    "marin": "heart",
    "cedar": "fenrir",
    "vivian": "heart",
    "serena": "kore",
    "uncle_fu": "fenrir",
    "dylan": "fenrir",
    "eric": "fenrir",
    "ryan": "fenrir",
    "aiden": "fenrir",
    "ono_anna": "kore",
    "sohee": "kore",
}


def hibari_speaker(name: str | None, present: Collection[str]) -> str | None:
    """The speaker for the voice `name`, given the speakers that are `present` on the machine: `name` itself, its
    stand-in or the default one. None for an unknown name."""
    if name is None or name in present:
        return name or HIBARI_DEFAULT
    if name not in HIBARI_STAND_INS:
        return None
    return HIBARI_STAND_INS[name] if HIBARI_STAND_INS[name] in present else HIBARI_DEFAULT
