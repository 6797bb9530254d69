"""Which language a text is in, as far as its script tells, and the names clients use for languages."""

from typing import Final

from speech_protocol.languages import AUTO, LANGUAGES

# Inclusive ranges of code points.
_KANA: Final = ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9D))
_HANGUL: Final = ((0xAC00, 0xD7AF), (0x1100, 0x11FF), (0x3130, 0x318F))
_HAN: Final = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x323AF))
_CYRILLIC: Final = ((0x0400, 0x04FF),)
# Kana before Han: Japanese text mixes both, Chinese has no kana.
_SCRIPTS: Final = (("japanese", _KANA), ("korean", _HANGUL), ("chinese", _HAN), ("russian", _CYRILLIC))

_CODES: Final = {
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
_DIALECTS: Final = ("beijing_dialect", "sichuan_dialect")


def detect_language(text: str) -> str:
    """The language whose script `text` uses; `auto`, which lets the model decide, where many languages share it."""
    points = [ord(character) for character in text]
    for language, ranges in _SCRIPTS:
        if any(low <= point <= high for point in points for low, high in ranges):
            return language
    return AUTO


def parse_language(name: str) -> str | None:
    """A client's name of a language (`English`, `en`, `zh-CN`, `Beijing dialect`) as the wire's; None if unknown."""
    folded = name.strip().lower().replace(" ", "_")
    if folded in (AUTO, *LANGUAGES, *_DIALECTS):
        return folded
    return _CODES.get(folded.replace("_", "-").partition("-")[0])
