"""The languages a request may name; `auto` leaves the choice to the model."""

from typing import Final

AUTO: Final = "auto"
LANGUAGES: Final = (
    "chinese",
    "english",
    "german",
    "italian",
    "portuguese",
    "spanish",
    "japanese",
    "korean",
    "french",
    "russian",
)
