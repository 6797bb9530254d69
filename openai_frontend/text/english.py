"""A text for the embedded voice, which reads English only."""

from typing import Final

from openai_frontend.errors import ApiError
from speech_text.characters import latin_only
from speech_text.segments import is_spoken

LETTERS_LEFT_OUT: Final = "letters that are not Latin were left out: the model reads English only"


def readable_in_english(text: str) -> tuple[str, bool]:
    """`text` with Latin letters only, and whether others were left out. Raises ApiError 400 where nothing is left."""
    readable, left_out = latin_only(text)
    if left_out and not is_spoken(readable):
        message = "The input has no Latin letter, and this model reads English only. Use a Qwen3-TTS model for it."
        raise ApiError(400, "unspeakable_text", message, param="input")
    return readable, left_out
