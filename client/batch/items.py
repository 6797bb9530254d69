"""What is to be spoken: the items of a text file, Markdown, JSONL, CSV or an EPUB."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from client.batch.epub import read_chapters
from speech_text.markdown import plain_text

_FIELDS: Final = ("id", "text", "voice", "language", "instruct", "seed", "title")
_HEADING: Final = re.compile(r"^#{1,2}\s+(?P<title>.+?)\s*#*\s*$", re.MULTILINE)
_UNSAFE: Final = re.compile(r"[^\w.-]+")
_MAX_NAME_CHARS: Final = 80


class InputError(Exception):
    """A file that cannot be read at all; the message says why."""


@dataclass(frozen=True, slots=True)
class Item:
    """A text and how it is spoken; None is what the command line says. `name` is that of its file, unique and safe."""

    name: str
    text: str
    title: str = ""
    voice: str | None = None
    language: str | None = None
    instruct: str | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A part of the input that was left out."""

    place: str
    message: str


def read_items(path: Path) -> tuple[list[Item], list[Problem]]:
    """The items of a file, in order, and what of it cannot be used. Raises InputError."""
    kind = path.suffix.lower()
    try:
        if kind == ".epub":
            rows: Iterator[tuple[str, Mapping[str, Any] | str]] = _epub(path)
        else:
            text = path.read_text(encoding="utf-8-sig")
            readers = {".jsonl": _jsonl, ".csv": _csv, ".md": _markdown, ".markdown": _markdown}
            rows = readers.get(kind, _whole)(text)
        return _items(rows, path.stem)
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None


def _items(rows: Iterable[tuple[str, Mapping[str, Any] | str]], stem: str) -> tuple[list[Item], list[Problem]]:
    items: list[Item] = []
    problems: list[Problem] = []
    names: set[str] = set()
    for place, row in rows:
        if isinstance(row, str):
            problems.append(Problem(place, row))
            continue
        try:
            items.append(_item(row, names, len(items) + 1, stem))
        except ValueError as error:
            problems.append(Problem(place, str(error)))
    return items, problems


def _item(row: Mapping[str, Any], names: set[str], number: int, stem: str) -> Item:
    if unknown := sorted(set(row) - set(_FIELDS)):
        raise ValueError(f"there is no field '{unknown[0]}'; there are {', '.join(_FIELDS)}")
    fields = {name: _text(name, row.get(name)) for name in _FIELDS}
    if not (fields["text"] or "").strip():
        raise ValueError("there is no text")
    if fields["seed"] is not None and not fields["seed"].isdecimal():
        raise ValueError(f"seed is '{fields['seed']}'; it must be a whole number")
    name = _UNSAFE.sub("-", fields["id"] or fields["title"] or f"{stem}-{number:03}").strip("-.")[:_MAX_NAME_CHARS]
    name = name or f"{number:03}"
    if name in names and fields["id"]:
        raise ValueError(f"the id '{fields['id']}' is there twice")
    while name in names:
        name = f"{name}-{number:03}"
    names.add(name)
    return Item(
        name,
        fields["text"] or "",
        fields["title"] or "",
        fields["voice"],
        fields["language"],
        fields["instruct"],
        None if fields["seed"] is None else int(fields["seed"]),
    )


def _text(name: str, value: object) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{name} is not a text")
    return str(value)


def _whole(text: str) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
    yield "the file", {"text": text}


def _markdown(text: str) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
    """A chapter for each heading of the first two levels."""
    heads = list(_HEADING.finditer(text))
    if (before := text[: heads[0].start()] if heads else text).strip():
        yield "the beginning", {"text": plain_text(before)}
    for head, end in zip(heads, [*(head.start() for head in heads[1:]), len(text)], strict=True):
        if text[head.end() : end].strip():
            title = plain_text(head["title"]).strip().rstrip(".")
            yield title, {"title": title, "text": plain_text(text[head.start() : end])}


def _jsonl(text: str) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            row = f"not JSON: {error}"
        yield f"line {number}", row if isinstance(row, dict | str) and row != "" else "not a JSON object"


def _csv(text: str) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
    rows = csv.DictReader(text.splitlines(keepends=True), strict=True)
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield f"line {rows.line_num}", f"not CSV: {error}"
            continue
        if row is None:
            return
        extra = row.pop(None, None)
        yield f"line {rows.line_num}", "more fields than the first line has" if extra else row


def _epub(path: Path) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
    for chapter in read_chapters(path):
        yield chapter.file, {"title": chapter.title, "text": chapter.text} if chapter.text else "there is no text in it"
