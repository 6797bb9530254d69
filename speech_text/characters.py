"""Unicode normalisation: composed letters, no invisible characters, and only letters that a model can pronounce."""

import unicodedata
from typing import Final

import regex

# Invisible characters: soft hyphens, zero-width spaces, byte order marks, direction marks, annotations.
_INVISIBLE: Final = regex.compile(
    r"[\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]+"
    # Joiners are significant in Arabic and Indic scripts, and in emoji.
    r"|(?<=[\p{Latin}\p{Greek}\p{Cyrillic}\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]\p{M}*+)[\u200c\u200d]+"
    # Control characters other than tab, line feed, form feed, carriage return and next line.
    r"|[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f]+"
)
# No language stacks more marks on a letter (UAX #15, Stream-Safe Text Format); longer runs cost quadratic time.
_STACKED_MARKS: Final = regex.compile(r"(\p{M}{30})\p{M}+")
# "fi" as one character, as in PDF files.
_LIGATURES: Final = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)}
_FULL_WIDTH: Final = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_FOREIGN: Final = regex.compile(r"[[\p{L}\p{M}]--[\p{Latin}\p{Common}\p{Inherited}]]+", regex.VERSION1)
_GREEK_SYMBOL: Final = regex.compile(r"(?<![\p{Greek}\p{M}])\p{Greek}(?![\p{Greek}\p{M}])")
_FOREIGN_DIGIT: Final = regex.compile(r"[\p{Nd}--[0-9]]", regex.VERSION1)


def normalized(text: str) -> str:
    """`text` in Unicode's form NFC without invisible characters and typographic ligatures."""
    if text.isascii() and text.isprintable():
        return text
    visible = _INVISIBLE.sub("", text).translate(_LIGATURES)
    return unicodedata.normalize("NFC", _STACKED_MARKS.sub(r"\1", visible))


def latin_only(text: str) -> tuple[str, bool]:
    """`text` for a model that reads Latin letters only, and whether other letters were removed.

    A Greek letter on its own is a symbol and is replaced by its name; digits are converted to ASCII.
    """
    if text.isascii():
        return text, False
    readable = _FOREIGN_DIGIT.sub(_ascii_digit, _GREEK_SYMBOL.sub(_greek_name, text.translate(_FULL_WIDTH)))
    kept, left_out = _FOREIGN.subn("", readable)
    return kept, bool(left_out)


def _ascii_digit(match: regex.Match[str]) -> str:
    return str(unicodedata.digit(match[0]))


def _greek_name(match: regex.Match[str]) -> str:
    # GREEK SMALL LETTER ALPHA, GREEK CAPITAL LETTER OMEGA; accented and archaic letters have longer names.
    name = unicodedata.name(match[0], "").removeprefix("GREEK ").partition(" LETTER ")[2]
    return name.lower() if name.isalpha() else match[0]
