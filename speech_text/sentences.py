"""Places to split a text: sentences of the ten languages, in a long one clauses, then spaces, then anywhere.

Every splitter is lossless: its pieces concatenate to the text, and white space belongs to the piece before it. The
rules are conservative: a missed sentence end has no cost, since several sentences form one utterance, but a split after
"Dr." would be audible.
"""

from collections.abc import Callable, Iterator
from typing import Final

import regex

# A run of end marks with the closing quotes and brackets after it; French puts a space before its quotes.
_END: Final = regex.compile(
    r"(?P<marks>[.!?…\u3002\uff01\uff1f\uff61]+)"
    r"(?P<closers>[\"'“”‘’»«)\]」』\uff09】》〉]*(?:[ \u00a0\u202f]»(?!\w))?)(?P<space>\s*)"
)
_PARAGRAPH: Final = regex.compile(r"\n[^\S\n]*\n\s*")
_CLAUSE: Final = regex.compile(r"[,;:—–][\"'“”‘’»«)\]]*\s+|[、\uff0c\uff1b\uff1a]\s*|\n\s*")
_SPACE: Final = regex.compile(r"\s+")
_WORD: Final = regex.compile(r"[^\W\d_]+|\d+")
_LAST_WORD: Final = regex.compile(r"[^\W_]+$")
_GRAPHEME: Final = regex.compile(r"\X")
_FULL_WIDTH: Final = frozenset("\u3002\uff01\uff1f\uff61")
# How far the rules look around an end mark: more words give no information, and a text of marks only must stay cheap.
_LOOK_CHARS: Final = 16
# 「…」と言った, "…"라고 말했다: the sentence continues after the quotation.
_QUOTE_PARTICLES: Final = ("と", "って", "라고", "하고", "라는", "、", "\uff0c")
# Abbreviations that end in a period within a sentence. Not listed: single letters (initials, "z. B.", "p.m.") and words
# that often end sentences ("sun.", "out.", "min.").
_ABBREVIATION_LIST: Final = """
mr mrs ms dr prof st jr vs no nos fig figs sec vol vols art cap ch pp ed eds gen col capt lt sgt rev hon gov sen rep
approx mt mts ft ave blvd rd pt inc ltd co corp llc bros cie dept est esq assn univ intl govt maj cmdr cpl pvt adm atty
supt messrs viz resp misc incl excl
jan feb mar apr jun jul aug sep sept oct nov dec tue tues thu thur thurs
eg ie cf al nr hr hrn fr bzw ca vgl bspw evtl ggf inkl exkl zzgl max tel abb sog geb gest med phil jur rer nat dipl
habil hbf str bd kap anm aufl hrsg jh jhd jhdt mio mrd tsd std okt dez zb
mm mme mmes mlle mlles ste av bld env chap éd mgr janv févr avr juil déc
sr sra srta sres dña ud uds vd ee núm págs pág avda gral lic arq cía dpto fdo aprox ene abr ago dic
sig sigg dott avv ing arch geom rag egr spett gent pag pagg cfr ecc febb mag giu lug ott
dra exmo exma ilmo ltda cia depto fev obs
гг ул стр рис им руб коп тыс млн млрд см др пр проф акад гл тел обл респ просп корп напр св доц канд янв февр апр авг
сент окт нояб дек
"""
# "p. ex.", "p. ej.", "p. es.", "ad es.", "par ex.": abbreviations only together with the word before them.
_EXAMPLES: Final = regex.compile(r"(?<!\w)(?:p\.|por|par|per|ad)\s?(?:ex|ej|es)$", regex.IGNORECASE)
# "Goethestr."
_STREET: Final = "str"
_ABBREVIATIONS: Final = frozenset(_ABBREVIATION_LIST.split())


def split_sentences(text: str) -> list[str]:
    """The sentences of a text."""
    return _cut_at(text, _sentence_ends(text))


def split_clauses(text: str) -> list[str]:
    """The text split after commas, colons, dashes and line breaks."""
    return _cut_at(text, (match.end() for match in _CLAUSE.finditer(text)))


def split_words(text: str) -> list[str]:
    """The text split after white space."""
    return _cut_at(text, (match.end() for match in _SPACE.finditer(text)))


def split_graphemes(text: str) -> list[str]:
    """The text's grapheme clusters: an accent or a joined emoji stays whole."""
    return [match[0] for match in _GRAPHEME.finditer(text)]


# From the best places to split to the worst.
SPLITTERS: Final[tuple[Callable[[str], list[str]], ...]] = (
    split_sentences,
    split_clauses,
    split_words,
    split_graphemes,
)


def ends_sentence(piece: str) -> bool:
    """Whether a piece of text ends with an end mark."""
    tail = piece.rstrip()[-_LOOK_CHARS:]
    return any(match.end() == len(tail) for match in _END.finditer(tail))


def ends_paragraph(piece: str) -> bool:
    """Whether a blank line follows a piece of text."""
    return piece[len(piece.rstrip()) :].count("\n") > 1


def _cut_at(text: str, ends: Iterator[int]) -> list[str]:
    pieces, begin = [], 0
    for end in (*ends, len(text)):
        if end > begin:
            pieces.append(text[begin:end])
            begin = end
    return pieces


def _sentence_ends(text: str) -> Iterator[int]:
    paragraphs = [match.end() for match in _PARAGRAPH.finditer(text)]
    sentences = [match.end() for match in _END.finditer(text) if _is_end(text, match)]
    yield from sorted({*paragraphs, *sentences})


def _is_end(text: str, match: regex.Match[str]) -> bool:
    after = text[match.end() : match.end() + _LOOK_CHARS]
    if match["closers"] and after.startswith(_QUOTE_PARTICLES):
        return False
    if not _FULL_WIDTH.isdisjoint(match["marks"]):
        return True
    if not match["space"] and after and not _begins_quotation(match["marks"], after):
        return False  # a decimal, a URL, "...what?"
    following = _WORD.search(after)
    if following is not None and following[0][0].islower():
        return False
    return match["marks"] != "." or bool(match["closers"]) or not _is_abbreviated(text, match.start(), after)


def _begins_quotation(marks: str, after: str) -> bool:
    """Chinese and Japanese put no space between an ellipsis and the quotation that follows it."""
    return "…" in marks and after[0] in "「『“《"


def _is_abbreviated(text: str, period: int, after: str) -> bool:
    before = text[max(0, period - _LOOK_CHARS) : period]
    word = _LAST_WORD.search(before)
    if word is None:
        return False
    if word[0].isdigit():
        # A German date ("am 3. Oktober") or the number of an item; "n. 5." is neither.
        return len(word[0]) <= 2 and not before[: word.start()].rstrip().endswith(".") and after[:1].isalpha()
    folded = word[0].lower()
    known = folded in _ABBREVIATIONS or folded.endswith(_STREET) or _EXAMPLES.search(before) is not None
    return len(folded) == 1 or known
