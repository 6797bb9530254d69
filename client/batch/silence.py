"""Page elements that are not read aloud, and the reasons: by HTML, EPUB's structural semantics, ARIA, and the class
names that publishers and Project Gutenberg use for page numbers and notes."""

import re
from collections.abc import Mapping
from typing import Final

from .document import Reason

# Never displayed.
INVISIBLE: Final = frozenset(("head", "script", "style", "template", "datalist", "desc", "metadata", "defs"))

_TAGS: Final = {
    **dict.fromkeys(("rt", "rp", "rtc"), Reason.RUBY),
    **dict.fromkeys(("audio", "video", "object", "iframe", "canvas"), Reason.MEDIA),
    **dict.fromkeys(("textarea", "select"), Reason.FORM),
    "svg": Reason.DRAWING,
    "math": Reason.FORMULA,
    "nav": Reason.CONTENTS,
}
# Values of `epub:type` and, with the prefix "doc-", of `role`.
_TYPES: Final = {
    **dict.fromkeys(("noteref", "backlink"), Reason.NOTE_MARK),
    **dict.fromkeys(("footnote", "footnotes", "endnote", "endnotes", "rearnote", "rearnotes", "note"), Reason.NOTE),
    "pagebreak": Reason.PAGE_NUMBER,
    **dict.fromkeys(("toc", "landmarks", "page-list", "pagelist", "loi", "lot"), Reason.CONTENTS),
}
_CLASSES: Final = {
    **dict.fromkeys(("pagenum", "pageno", "page-number", "pagenumber", "pagebreak"), Reason.PAGE_NUMBER),
    **dict.fromkeys(
        ("fnanchor", "noteref", "footnote-ref", "footnoteref", "footnote-backref", "fn-ref"), Reason.NOTE_MARK
    ),
    **dict.fromkeys(("footnote", "footnotes", "endnote", "endnotes"), Reason.NOTE),
}
_CODE_CLASSES: Final = frozenset(("programlisting", "code", "sourcecode", "highlight", "screen", "literal-block"))
_INVISIBLE_STYLE: Final = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_NOTE_TARGET: Final = re.compile(r"#.*(?:note|fn|ftn|\ben?\d)", re.IGNORECASE)
_BRACKETED: Final = re.compile(r"\s*(?:\[\s*(?:\d{1,4}|[a-z]|[*†‡§¶]+)\s*\]|[*†‡§¶]+)\s*")
_MARK: Final = re.compile(r"\s*[\[(]?(?:\d{1,4}|[*†‡§¶]+|[a-z])[\])]?\s*")
_NUMBER: Final = re.compile(r"\s*[\[(]?\d{1,3}[\])]?\s*")
_SYMBOLS: Final = re.compile(r"\s*[*†‡§¶]+\s*")
# The end of a link's target is significant.
_LINK_CHARS: Final = 200
# m², km³, x²: a power, not a note.
_RAISED: Final = re.compile(r"(?<![^\W\d_])(?:[kcdm]?m|ft|in|yd|mi|s|[a-zA-Z])$")


def reason_of(tag: str, attributes: Mapping[str, str]) -> Reason | None:
    """Why an element itself is not read aloud; None if it is."""
    if "hidden" in attributes or attributes.get("aria-hidden", "").strip().lower() == "true":
        return Reason.HIDDEN
    if _INVISIBLE_STYLE.search(attributes.get("style", "")) or (tag == "dialog" and "open" not in attributes):
        return Reason.HIDDEN
    for word in attributes.get("epub:type", "").lower().split():
        if word in _TYPES:
            return _TYPES[word]
    for word in attributes.get("role", "").lower().split():
        if word.startswith("doc-") and word[4:] in _TYPES:
            return _TYPES[word[4:]]
    classes = attributes.get("class", "").lower().split()
    for word in classes:
        if word in _CLASSES:
            return _CLASSES[word]
    if tag == "pre" and any(word in _CODE_CLASSES or word.startswith("language-") for word in classes):
        return Reason.CODE
    return _TAGS.get(tag)


def is_note_mark(text: str, before: str, *, raised: bool, link: str | None) -> bool:
    """Whether a text is a reference to a note. `before`: the end of the preceding text; `raised`: true for `<sup>`;
    `link`: the target of the link."""
    if link is not None and "#" in (link := link[-_LINK_CHARS:]):
        if _BRACKETED.fullmatch(text):
            return True
        return bool(_MARK.fullmatch(text)) and (raised or bool(_NOTE_TARGET.search(link)))
    is_power = _RAISED.search(before) is not None
    return raised and bool(_SYMBOLS.fullmatch(text) or (_NUMBER.fullmatch(text) and not is_power))
