"""A document for reading aloud: chapters of blocks of runs. Visible text is synthesized, or skipped for a reason."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import regex

from speech_text.markdown import ADDRESS, EMOJI, closed


class Reason(StrEnum):
    """Why visible text is skipped, as stated in reports."""

    CODE = "code"
    NOTE = "note"
    NOTE_MARK = "note reference"
    PAGE_NUMBER = "page number"
    RUBY = "reading aid (ruby)"
    HIDDEN = "hidden"
    PICTURE = "description of a picture"
    DRAWING = "text in a drawing"
    FORMULA = "formula"
    CONTENTS = "table of contents"
    NOT_LINEAR = "outside the reading order"
    EMOJI = "emoji"
    ADDRESS = "part of an address"
    SYMBOLS = "nothing to pronounce"
    DAMAGED = "damaged characters"
    FORM = "form field"
    MEDIA = "stands in for audio or video"
    METADATA = "metadata"
    REFUSED = "refused by the model"


class Kind(StrEnum):
    """The kind of a block. Headings and lines without an end mark get one, for the pause."""

    PARAGRAPH = "paragraph"
    LINE = "line"
    HEADING = "heading"


@dataclass(frozen=True, slots=True)
class Run:
    """Characters of the document; `added` ones are inserted, such as the comma between two cells of a table."""

    text: str
    skipped: Reason | None = None
    added: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, heading, list item or table row. `level` is a heading's, 1 to 6; `lead` the number of an item;
    `anchors` the ids in it, which tables of contents refer to."""

    kind: Kind
    runs: tuple[Run, ...]
    level: int = 0
    lead: str = ""
    anchors: tuple[str, ...] = ()

    def speech(self) -> str:
        """The text to synthesize; line breaks are kept."""
        text = "".join(run.text for run in self.runs if run.skipped is None)
        lines = [line for part in text.split("\n") if (line := " ".join(part.split()))]
        if self.kind is not Kind.PARAGRAPH:
            lines = [closed(line) for line in lines]
        return self.lead + "\n".join(lines) if lines else ""

    def title(self) -> str:
        """The text of a heading on one line, without notes and page numbers."""
        return " ".join("".join(run.text for run in self.runs if run.skipped is None).split())

    def skipped(self) -> Iterator["Skipped"]:
        """The skipped parts; adjacent parts with the same reason are merged."""
        text, reason = "", None
        for run in (*self.runs, Run("")):
            if run.skipped is not reason and reason is not None:
                if text.strip():
                    yield Skipped(reason, " ".join(text.split()))
                text = ""
            reason = run.skipped
            text += run.text if reason else ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Visible text that is skipped, and the reason."""

    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of the document that becomes one file, or one chapter of a book. `place`: its location, for error
    messages."""

    place: str
    title: str
    blocks: tuple[Block, ...]

    @property
    def is_silent(self) -> bool:
        """Whether it has nothing to synthesize."""
        return not any(block.speech() for block in self.blocks)


_SPECIAL: Final = regex.compile(
    rf"(?P<address>{ADDRESS.pattern})|(?P<emoji>{EMOJI.pattern})|(?P<damaged>\ufffd+)",
    regex.VERSION1 | regex.IGNORECASE,
)


def runs_of(text: str) -> Iterator[Run]:
    """A text as runs: emoji are skipped, a URL is replaced by its host name."""
    begin = 0
    for match in _SPECIAL.finditer(text):
        if match.start() > begin:
            yield Run(text[begin : match.start()])
        if match["address"]:
            host_begin, host_end = match.span("host")
            yield from (
                run
                for run in (
                    Run(text[match.start() : host_begin], Reason.ADDRESS),
                    Run(text[host_begin:host_end]),
                    Run(text[host_end : match.end()], Reason.ADDRESS),
                )
                if run.text
            )
        else:
            yield Run(match[0], Reason.EMOJI if match["emoji"] else Reason.DAMAGED)
        begin = match.end()
    if begin < len(text):
        yield Run(text[begin:])


def plain_blocks(text: str) -> tuple[Block, ...]:
    """The paragraphs of a text without markup, unchanged."""
    paragraphs = regex.split(r"\n[^\S\n]*\n", text)
    return tuple(Block(Kind.PARAGRAPH, (Run(each),)) for each in paragraphs if each.strip())


def by_headings(blocks: Iterable[Block], levels: int = 2) -> list[Chapter]:
    """Chapters at headings of the first `levels` levels, or of the highest level present if that is deeper. A document
    without headings is one chapter."""
    blocks = list(blocks)
    found = [block.level for block in blocks if block.kind is Kind.HEADING]
    deepest = max(levels, min(found, default=levels))
    chapters: list[list[Block]] = [[]]
    for block in blocks:
        if block.kind is Kind.HEADING and block.level <= deepest and any(each.speech() for each in chapters[-1]):
            chapters.append([])
        chapters[-1].append(block)
    return [
        Chapter(title or ("the beginning" if len(chapters) > 1 else "the file"), title, tuple(each))
        for each in chapters
        if each
        for title in (_title(each, deepest),)
    ]


def _title(blocks: Iterable[Block], deepest: int) -> str:
    spoken = next((block for block in blocks if block.speech()), None)
    return spoken.title() if spoken is not None and spoken.kind is Kind.HEADING and spoken.level <= deepest else ""
