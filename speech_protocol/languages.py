"""The languages a request may specify, and the names that clients use for them; `auto` lets the model choose."""

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
# By ISO 639-1 code.
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
# Dialects that a checkpoint may list as languages.
DIALECTS: Final = ("beijing_dialect", "sichuan_dialect")


def parse_language(name: str) -> str | None:
    """The wire's name for a client's language name (`English`, `en`, `zh-CN`, `Beijing dialect`); None if unknown."""
    folded = name.strip().lower().replace(" ", "_")
    if folded in (AUTO, *LANGUAGES, *DIALECTS):
        return folded
    return CODES.get(folded.replace("_", "-").partition("-")[0])
