"""Decodes text files by byte order mark, declaration, and the rules of XML and HTML."""

import codecs
import re
from typing import Final

_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# A file without a byte order mark starts with "<".
_WIDE: Final = {b"<\0\0\0": "utf-32-le", b"\0\0\0<": "utf-32-be", b"<\0": "utf-16-le", b"\0<": "utf-16-be"}
_DECLARED: Final = (
    re.compile(rb"\A\s*<\?xml[^>]*?encoding\s*=\s*[\"']\s*([\w.:-]+)"),
    re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE),
)
_LOOK_BYTES: Final = 2_048
# Labels whose meaning on the web differs from Python's.
_LABELS: Final = {
    **dict.fromkeys(("iso-8859-1", "iso8859-1", "latin1", "us-ascii", "ascii", "ansi"), "cp1252"),
    **dict.fromkeys(("gb2312", "gbk", "x-gbk"), "gb18030"),
    **dict.fromkeys(("shift_jis", "shift-jis", "x-sjis", "sjis", "ms_kanji"), "cp932"),
    **dict.fromkeys(("euc-kr", "ks_c_5601-1987"), "cp949"),
    **dict.fromkeys(("big5", "big5-hkscs", "x-x-big5"), "big5hkscs"),
    **dict.fromkeys(("iso-8859-9", "latin5"), "cp1254"),
    **dict.fromkeys(("x-mac-roman", "macintosh"), "mac-roman"),
    **dict.fromkeys(("utf8", "unicode-1-1-utf-8"), "utf-8"),
}
# Python codecs that are not file encodings.
_NO_ENCODINGS: Final = ("utf-7", "idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem")
# A page with more invalid bytes than this is not in its declared encoding.
_MAX_DAMAGED: Final = 0.01
_DAMAGED: Final = "\ufffd"


class EncodingError(ValueError):
    """Bytes that are not text in the declared encoding; the message says why."""


def decode(data: bytes) -> str:
    """The text of an XML or HTML file, with U+FFFD for a few invalid bytes. Raises EncodingError."""
    name, is_declared = _encoding(data)
    try:
        return data.decode(name)
    except UnicodeDecodeError:
        text = data.decode(name, "replace")
    if text.count(_DAMAGED) <= _MAX_DAMAGED * len(text):
        return text
    if is_declared:
        raise EncodingError(f"it is not in the encoding that it names, {name}")
    return data.decode("cp1252", "replace")  # HTML's default encoding


def decode_text(data: bytes) -> str:
    """The text of a text file: UTF-8, or the encoding of its byte order mark. Raises EncodingError."""
    name = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(name)
    except UnicodeDecodeError:
        raise EncodingError("it is not UTF-8 text, and has no byte order mark that says what it is") from None


def _encoding(data: bytes) -> tuple[str, bool]:
    """The codec of a file, and whether the file declares it."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name, True
    for begin, name in _WIDE.items():
        if data.startswith(begin):
            return name, True
    for declared in _DECLARED:
        if match := declared.search(data[:_LOOK_BYTES]):
            label = match[1].decode("ascii", "replace").lower()
            if label.startswith(("utf-16", "utf-32", "ucs-")):
                return "utf-8", True  # otherwise the declaration would be unreadable
            return _known(label), True
    return "utf-8", False


def _known(label: str) -> str:
    name = _LABELS.get(label, label)
    try:
        b"<>".decode(name)
        if name not in _NO_ENCODINGS:
            return name
    except (LookupError, ValueError):
        pass  # said below
    raise EncodingError(f"it names an encoding that is not known, '{label[:40]}'")
