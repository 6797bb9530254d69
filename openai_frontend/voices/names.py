"""The built-in names: Qwen3-TTS's nine speakers, and OpenAI's 13 voices mapped onto them.

The mapping follows gender and character; six names keep the mapping of the single-file server.
"""

import unicodedata
from collections.abc import Mapping
from typing import Final

from speech_protocol.speakers import Speaker

SPEAKERS: Final = (
    Speaker("vivian", "female", "chinese", "bright, slightly edgy young voice"),
    Speaker("serena", "female", "chinese", "warm, gentle young voice"),
    Speaker("uncle_fu", "male", "chinese", "seasoned, low and mellow voice"),
    Speaker("dylan", "male", "beijing_dialect", "youthful, clear Beijing voice"),
    Speaker("eric", "male", "sichuan_dialect", "lively, slightly husky Chengdu voice"),
    Speaker("ryan", "male", "english", "dynamic voice with strong rhythm"),
    Speaker("aiden", "male", "english", "sunny American voice with a clear midrange"),
    Speaker("ono_anna", "female", "japanese", "playful, light and nimble voice"),
    Speaker("sohee", "female", "korean", "warm voice with rich emotion"),
)
OPENAI_VOICES: Final[Mapping[str, str]] = {
    "alloy": "ryan",
    "ash": "ryan",
    "ballad": "aiden",
    "coral": "serena",
    "echo": "aiden",
    "fable": "dylan",
    "onyx": "uncle_fu",
    "nova": "vivian",
    "sage": "sohee",
    "shimmer": "serena",
    "verse": "ryan",
    "marin": "sohee",
    "cedar": "aiden",
}


def fold(name: str) -> str:
    """A voice name in canonical form, without differences of case, white space and Unicode composition."""
    return unicodedata.normalize("NFKC", name).strip().casefold().replace(" ", "_")
