"""The blocks of an XHTML or HTML page, in reading order."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from .document import Block, Kind, Reason, Run, runs_of
from .silence import INVISIBLE, is_note_mark, reason_of
from .tree import Event

_HEADING: Final = re.compile(r"h[1-6]")
_LINES: Final = frozenset(("li", "dt", "dd", "caption", "figcaption", "legend", "summary", "option"))
_BLOCKS: Final = _LINES | {
    *("p", "div", "section", "article", "aside", "main", "header", "footer", "nav", "body", "html", "hgroup"),
    *(
        "blockquote",
        "pre",
        "hr",
        "ul",
        "ol",
        "dl",
        "menu",
        "figure",
        "address",
        "details",
        "dialog",
        "fieldset",
        "form",
    ),
    *("table", "thead", "tbody", "tfoot", "tr", "center", "search"),
    *("level", "line", "linegroup", "text"),  # of DTBook, and in a drawing
}
_CELLS: Final = frozenset(("td", "th"))
_SPACE: Final = re.compile(r"\s+")
# After these, a superscript may be a power.
_LOOK_CHARS: Final = 12


@dataclass(slots=True)
class _Frame:
    """An open element; `reason`: why its content is skipped."""

    tag: str
    reason: Reason | None = None
    invisible: bool = False
    link: str | None = None
    number: int | None = None  # of the next item of an ordered list
    step: int = 1


@dataclass(slots=True)
class _Line:
    """A block being read."""

    kind: Kind = Kind.PARAGRAPH
    level: int = 0
    lead: str = ""
    runs: list[Run] = field(default_factory=list)
    anchors: list[str] = field(default_factory=list)
    has_text: bool = False
    has_speech: bool = False

    def add(self, run: Run) -> None:
        self.runs.append(run)
        if run.text.strip():
            self.has_text = True
            self.has_speech |= run.skipped is None


def read_page(events: Iterable[Event]) -> Iterator[Block]:
    """The blocks of a page. Raises PageError as its events do."""
    reader = _Reader()
    for name, value in events:
        if not name:
            reader.text(str(value))
        elif value is None:
            reader.end(name)
        elif isinstance(value, Mapping):
            reader.begin(name, value)
        yield from reader.take()
    yield from reader.finish()


def link_share(events: Iterable[Event]) -> float:
    """The share of a page's text in links, 0 to 1: nearly all of a table of contents."""
    depth = linked = others = hidden = 0
    for name, value in events:
        if name == "a":
            depth += 1 if value is not None else -1
        elif name in INVISIBLE:
            hidden += 1 if value is not None else -1
        elif not name and not hidden:
            count = len("".join(str(value).split()))
            linked, others = (linked + count, others) if depth else (linked, others + count)
    return linked / (linked + others) if linked + others else 0.0


class _Reader:
    """Builds blocks from events."""

    def __init__(self) -> None:
        self._frames: list[_Frame] = []
        self._line = _Line()
        self._done: list[Block] = []
        self._separator = ""  # before the next text of this block
        self._anchors: list[str] = []  # before the next block

    def take(self) -> list[Block]:
        done, self._done = self._done, []
        return done

    def finish(self) -> list[Block]:
        self._flush()
        return self.take()

    def begin(self, tag: str, attributes: Mapping[str, str]) -> None:
        outer = self._frames[-1] if self._frames else _Frame("")
        reason = outer.reason or reason_of(tag, attributes)
        if reason is Reason.DRAWING and not self._frames:
            reason = None  # the drawing is the whole page
        frame = _Frame(tag, reason, outer.invisible or tag in INVISIBLE, outer.link)
        if tag == "a":
            frame.link = attributes.get("href", outer.link)
        if tag in {"code", "samp", "kbd"} and outer.tag == "pre" and not self._line.has_text:
            frame.reason = outer.reason = outer.reason or Reason.CODE
        self._begin_block(tag, attributes, frame)
        for name in ("id", "name"):
            if (name == "id" or tag == "a") and (anchor := attributes.get(name)):
                (self._line.anchors if self._line.has_text else self._anchors).append(anchor)
        self._frames.append(frame)
        if tag == "img" or (tag == "image" and not frame.reason):
            self._picture(attributes.get("alt", ""), frame)
        elif tag == "q":
            self._add(Run("“", frame.reason, added=True))

    def _begin_block(self, tag: str, attributes: Mapping[str, str], frame: _Frame) -> None:
        if frame.reason and (tag in _BLOCKS or _HEADING.fullmatch(tag)):
            self._space(frame.reason)
        elif tag == "br":
            self._separator = "\n" if self._line.has_text else ""
        elif _HEADING.fullmatch(tag):
            self._flush()
            self._line.kind, self._line.level = Kind.HEADING, int(tag[1])
        elif tag in _CELLS:
            if self._line.has_text:
                self._separator = ", "
        elif tag in _BLOCKS and not self._is_inside_cell():
            self._flush()
            if tag in _LINES or tag == "tr":
                self._line.kind = Kind.LINE
            if tag == "ol":
                frame.step = -1 if "reversed" in attributes else 1
                frame.number = _whole_number(attributes.get("start")) or 1
            elif tag == "li":
                self._line.lead = self._lead(attributes)
        elif tag in _BLOCKS and self._line.has_text:
            if self._separator == "\n\n":
                # Paragraphs in a cell: a layout table.
                self._flush()
            elif not self._separator:
                self._separator = "\n"

    def _lead(self, attributes: Mapping[str, str]) -> str:
        items = next((each for each in reversed(self._frames) if each.tag in {"ol", "ul", "menu"}), None)
        if items is None or items.number is None:
            return ""
        number = _whole_number(attributes.get("value"))
        number = items.number if number is None else number
        items.number = number + items.step
        return f"{number}. "

    def end(self, tag: str) -> None:
        if tag == "q":
            self._add(Run("”", self._frames[-1].reason, added=True))
        frame = self._frames.pop()
        if frame.reason:
            if tag in _BLOCKS or tag in _CELLS or _HEADING.fullmatch(tag):
                self._space(frame.reason)
        elif tag in _CELLS:
            self._separator = ", " if self._line.has_text else ""
        elif _HEADING.fullmatch(tag) or (tag in _BLOCKS and not self._is_inside_cell()):
            self._flush()
            self._line = _Line(anchors=self._line.anchors)
        elif self._line.has_text and tag in {"p", "div"}:
            self._separator = "\n\n"

    def _space(self, reason: Reason) -> None:
        """Skipped blocks do not split the paragraph around them."""
        if self._line.has_text:
            self._line.add(Run(" ", reason))

    def text(self, text: str) -> None:
        frame = self._frames[-1] if self._frames else _Frame("")
        if frame.invisible or not text:
            return
        if not any(each.tag == "pre" for each in self._frames):
            text = _SPACE.sub(" ", text)
        if not text.strip():
            if self._line.runs and not self._separator:
                self._line.add(Run(text, frame.reason))
            return
        if frame.reason:
            self._add(Run(text, frame.reason))
            return
        before = "".join(run.text for run in self._line.runs[-3:] if run.skipped is None)[-_LOOK_CHARS:]
        raised = any(each.tag == "sup" for each in self._frames)
        if is_note_mark(text, before, raised=raised, link=frame.link):
            self._add(Run(text, Reason.NOTE_MARK))
            return
        for run in runs_of(text):
            self._add(run)

    def _picture(self, alt: str, frame: _Frame) -> None:
        alt = " ".join(alt.split())
        if frame.reason is None and len(alt) == 1 and alt.isalnum():
            self._add(Run(alt))  # an initial
        elif alt and not frame.invisible:
            self._add(Run(alt, frame.reason or Reason.PICTURE))

    def _add(self, run: Run) -> None:
        if not self._line.has_text:
            self._line.anchors += self._anchors
            self._anchors = []
        if self._separator and run.skipped is None:
            if self._line.has_speech:
                self._line.add(Run(self._separator[:1] if "\n" in self._separator else ", ", added=True))
            self._separator = ""
        self._line.add(run)

    def _is_inside_cell(self) -> bool:
        return any(frame.tag in _CELLS for frame in self._frames)

    def _flush(self) -> None:
        line, self._line, self._separator = self._line, _Line(), ""
        if line.has_text:
            self._done.append(Block(line.kind, tuple(line.runs), line.level, line.lead, tuple(line.anchors)))
        else:
            self._anchors = [*line.anchors, *self._anchors]
            # `<li><p>`: the paragraph is the item.
            self._line.lead, self._line.kind, self._line.level = line.lead, line.kind, line.level


def _whole_number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,9}", text.strip()) else None
