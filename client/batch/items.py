"""The input: the items of a text file, Markdown, JSONL, CSV or an EPUB."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .document import Block, Chapter, Skipped, plain_blocks
from .encodings import EncodingError, decode_text
from .epub import read_book
from .failures import InputError
from .markdown import front_matter, markdown_chapters
from .rows import Problem, Row, read_csv, read_jsonl
from .tree import PageError

_UNSAFE: Final = re.compile(r"[^\w.-]+")
_MAX_NAME_CHARS: Final = 80
_MAX_NAME_BYTES: Final = 160
_MAX_TEXT_BYTES: Final = 64 * 2**20
_MAX_DATASET_BYTES: Final = 512 * 2**20
_DATASETS: Final[dict[str, Callable[[str], Iterable[Row | Problem]]]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_csv,
}
_MARKDOWN: Final = (".md", ".markdown")


@dataclass(frozen=True, slots=True)
class Item:
    """A text and its options; None uses the command line's value. `name` is that of its file, unique and safe."""

    name: str
    blocks: tuple[Block, ...]
    title: str = ""
    voice: str | None = None
    model: str | None = None
    language: str | None = None
    instruct: str | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was read: its items in order, its problems, what is skipped in parts without speech, and its
    metadata. `is_dataset`: its items are rows, not chapters of a book."""

    items: tuple[Item, ...]
    problems: tuple[Problem, ...] = ()
    silent: tuple[tuple[str, Skipped], ...] = ()
    title: str = ""
    author: str = ""
    language: str = ""
    cover: tuple[bytes, str] | None = None
    is_dataset: bool = False


@dataclass(slots=True)
class _Names:
    """File names: safe and unique, also on case-insensitive file systems."""

    stem: str
    taken: set[str] = field(default_factory=set)

    def new(self, wanted: str, number: int) -> str:
        name = _UNSAFE.sub("-", wanted or f"{self.stem}-{number:03}").strip("-.")[:_MAX_NAME_CHARS]
        name = name.encode()[:_MAX_NAME_BYTES].decode(errors="ignore") or f"{number:03}"
        while name.lower() in self.taken:
            name = f"{name}-{number:03}"
        self.taken.add(name.lower())
        return name


def read_source(path: Path) -> Source:
    """The content of a file. Raises InputError."""
    kind = path.suffix.lower()
    try:
        if kind == ".epub":
            return _epub(path)
        limit_bytes = _MAX_DATASET_BYTES if kind in _DATASETS else _MAX_TEXT_BYTES
        if path.stat().st_size > limit_bytes:
            raise InputError(f"{path} is larger than {limit_bytes >> 20} MiB.")
        text = decode_text(path.read_bytes())
        if kind in _DATASETS:
            return _rows(_DATASETS[kind](text), path.stem)
        return _text(text, path, is_markdown=kind in _MARKDOWN)
    except (EncodingError, PageError) as error:
        raise InputError(f"{path} can't be read: {error}.") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}.") from None


def _text(text: str, path: Path, *, is_markdown: bool) -> Source:
    if not is_markdown:
        return _of_chapters([Chapter("the file", "", plain_blocks(text))], path.stem, ())
    about = front_matter(text)
    source = _of_chapters(markdown_chapters(text), path.stem, ())
    return Source(
        source.items,
        source.problems,
        source.silent,
        about.get("title", ""),
        about.get("author", ""),
        about.get("language", about.get("lang", "")),
    )


def _epub(path: Path) -> Source:
    book = read_book(path)
    problems = tuple(Problem(place, why) for place, why in book.missing)
    source = _of_chapters(book.chapters, path.stem, problems)
    return Source(source.items, problems, source.silent, book.title, book.author, book.language, book.cover)


def _of_chapters(chapters: Iterable[Chapter], stem: str, problems: tuple[Problem, ...]) -> Source:
    names = _Names(stem)
    items: list[Item] = []
    silent: list[tuple[str, Skipped]] = []
    for chapter in chapters:
        if chapter.is_silent:
            silent += [(chapter.title or chapter.place, each) for block in chapter.blocks for each in block.skipped()]
        else:
            items.append(Item(names.new(chapter.title, len(items) + 1), chapter.blocks, chapter.title))
    return Source(tuple(items), problems, tuple(silent))


def _rows(rows: Iterable[Row | Problem], stem: str) -> Source:
    names = _Names(stem)
    items: list[Item] = []
    problems: list[Problem] = []
    ids: dict[str, str] = {}
    for row in rows:
        if isinstance(row, Problem):
            problems.append(row)
        elif row.id is not None and row.id in ids:
            problems.append(Problem(row.place, f"its id is that of {ids[row.id]}"))
        else:
            if row.id is not None:
                ids[row.id] = row.place
            name = names.new(row.id or row.title or "", len(items) + 1)
            how = row.voice, row.model, row.language, row.instruct, row.seed
            items.append(Item(name, plain_blocks(row.text), row.title or "", *how))
    return Source(tuple(items), tuple(problems), is_dataset=True)
