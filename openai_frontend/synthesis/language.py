"""Language detection."""

from functools import cache
from typing import Any, Final

import regex

from speech_protocol.languages import AUTO, CODES

# Kana before Han: Japanese text mixes both, Chinese has no kana.
_SCRIPTS: Final = (
    ("japanese", regex.compile(r"[\p{Hiragana}\p{Katakana}]")),
    ("korean", regex.compile(r"\p{Hangul}")),
    ("chinese", regex.compile(r"\p{Han}")),
    ("russian", regex.compile(r"\p{Cyrillic}")),
)
_LATIN: Final = regex.compile(r"\p{Latin}")
_LETTER: Final = regex.compile(r"\p{L}")
# A few letters of another script in a long text, such as a name in a book, do not change its language.
_SCRIPT_SHARE: Final = 0.05
# With fewer letters or a lower probability, the detector is unreliable and the model decides.
_DETECTED_LETTERS: Final = 40
_DETECTED_PROBABILITY: Final = 0.99
_SAMPLE_CHARS: Final = 2_000
_LATIN_CODES: Final = ("en", "de", "it", "pt", "es", "fr")


def detect_script(text: str) -> str:
    """The language whose script `text` uses; `auto` (the model decides) if several languages share the script."""
    letters = len(_LETTER.findall(text))
    for language, script in _SCRIPTS:
        if len(script.findall(text)) > _SCRIPT_SHARE * letters:
            return language
    return AUTO


def detect_language(text: str) -> str:
    """The language by script, or for Latin script by words; `auto` for a text that is short or uncertain.

    Safe from any thread; the first Latin text loads the detector, 32 MB in about 0.1 s.
    """
    language = detect_script(text)
    if language != AUTO:
        return language
    sample = text[:_SAMPLE_CHARS]
    if len(_LATIN.findall(sample)) < max(_DETECTED_LETTERS, len(_LETTER.findall(sample)) / 2):
        return AUTO
    code, probability = _detector().classify(sample)
    return CODES[code] if probability >= _DETECTED_PROBABILITY else AUTO


@cache
def _detector() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    detector = LanguageIdentifier.from_pickled_model(MODEL_FILE, norm_probs=True)
    detector.set_languages(_LATIN_CODES)
    return detector
