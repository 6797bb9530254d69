"""The languages a request may name, and the names that clients use for them; `auto` leaves the choice to the model."""

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
# By their ISO 639-1 codes.
CODES: Final = {
    "zh": "chinese",
    "en": "english",
    "de": "german",
    "it": "italian",
    "pt": "portuguese",
    "es": "spanish",
    "ja": "japanese",
    "ko": "korean",
    "fr": "french",
    "ru": "russian",
}
# Dialects that a checkpoint may know as languages of their own.
DIALECTS: Final = ("beijing_dialect", "sichuan_dialect")


def parse_language(name: str) -> str | None:
    """A client's name of a language (`English`, `en`, `zh-CN`, `Beijing dialect`) as the wire's; None if unknown."""
    folded = name.strip().lower().replace(" ", "_")
    if folded in (AUTO, *LANGUAGES, *DIALECTS):
        return folded
    return CODES.get(folded.replace("_", "-").partition("-")[0])
