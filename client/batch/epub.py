"""The chapters of an EPUB 2 or 3: its reading order, split and named by its table of contents."""

import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from .document import Block, Chapter, Kind, Reason, Run
from .navigation import Point, read_points
from .package import Archive, EpubError, Package, SpineItem
from .page import link_share, read_page
from .tree import PageError, page_events

# Chapters are the first levels of the table of contents; deeper entries belong to their chapter.
_LEVELS: Final = 2
# A page listed as a table of contents is skipped as one if this share of its text is links.
_CONTENTS_SHARE: Final = 0.5
# A navigation document with this many letters besides the table of contents is also read.
_PROSE_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class Book:
    """The content of an EPUB; `missing` lists missing pages, with the reason."""

    title: str
    author: str
    language: str
    cover: tuple[bytes, str] | None
    chapters: tuple[Chapter, ...]
    missing: tuple[tuple[str, str], ...]


def read_book(path: Path) -> Book:
    """An EPUB from disk. Raises EpubError, and OSError if the file can't be read."""
    try:
        file = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        raise EpubError("it is no EPUB, or a damaged one (not a zip archive)") from None
    with file:
        archive = Archive(file)
        package = Package(archive)
        points = read_points(archive, package)
        missing = tuple((item.place, item.why) for item in package.spine if item.entry is None)
        chapters = tuple(_chapters(archive, package, points))
        cover = package.cover()
    return Book(package.title, package.author, package.language, cover, chapters, missing)


def _chapters(archive: Archive, package: Package, points: Sequence[Point]) -> Iterator[Chapter]:
    by_file: dict[str, list[Point]] = defaultdict(list)
    for point in points:
        if point.depth <= _LEVELS:
            by_file[point.file].append(point)
    contents = package.contents_pages()
    navigation = package.navigation()
    chapter: Chapter | None = None
    for item in package.spine:
        if item.entry is None:
            continue
        blocks = _blocks(archive, item)
        if not item.is_linear:
            blocks = _all_skipped(blocks, Reason.NOT_LINEAR)
        elif _is_contents(archive, item, blocks, contents, navigation.name if navigation else ""):
            blocks = _all_skipped(blocks, Reason.CONTENTS)
        for title, part in _parts(blocks, by_file.get(item.place, ())):
            begins = title is not None or chapter is None or not points or _has_heading(part)
            if begins and any(block.speech() for block in part):
                if chapter is not None:
                    yield chapter
                chapter = Chapter(item.place, _heading(part) if title is None else title, tuple(part))
            elif chapter is not None:
                chapter = replace(chapter, blocks=(*chapter.blocks, *part))
            elif part:
                chapter = Chapter(item.place, title or "", tuple(part))
    if chapter is not None:
        yield chapter


def _blocks(archive: Archive, item: SpineItem) -> list[Block]:
    assert item.entry is not None
    try:
        return list(read_page(page_events(archive.text(item.entry.name))))
    except PageError as error:
        raise EpubError(f"{item.place} can't be read: {error}") from None


def _is_contents(
    archive: Archive, item: SpineItem, blocks: Sequence[Block], contents: set[str], navigation: str
) -> bool:
    if item.place == navigation:
        return sum(len(block.speech()) for block in blocks) < _PROSE_CHARS
    return item.place in contents and link_share(page_events(archive.text(item.place))) >= _CONTENTS_SHARE


def _all_skipped(blocks: Sequence[Block], reason: Reason) -> list[Block]:
    return [
        replace(block, runs=tuple(Run(run.text, run.skipped or reason) for run in block.runs if not run.added))
        for block in blocks
    ]


def _parts(blocks: Sequence[Block], points: Sequence[Point]) -> Iterator[tuple[str | None, list[Block]]]:
    """The page, split if the table of contents points to, each part with its title or None. An entry for the page
    itself, or for an unknown id, is its beginning."""
    anchors: Mapping[str, int] = {
        anchor: number for number, block in reversed(list(enumerate(blocks))) for anchor in block.anchors
    }
    titles: dict[int, str] = {}
    for point in points:
        titles.setdefault(anchors.get(point.anchor, 0), point.title)
    cuts = sorted({0, *titles})
    for begin, end in zip(cuts, [*cuts[1:], len(blocks)], strict=True):
        yield titles.get(begin), list(blocks[begin:end])


def _first_spoken(blocks: Sequence[Block]) -> Block | None:
    return next((block for block in blocks if block.speech()), None)


def _has_heading(blocks: Sequence[Block]) -> bool:
    first = _first_spoken(blocks)
    return first is not None and first.kind is Kind.HEADING and first.level <= _LEVELS


def _heading(blocks: Sequence[Block]) -> str:
    """The first heading of any level."""
    return next((block.title() for block in blocks if block.kind is Kind.HEADING and block.speech()), "")
