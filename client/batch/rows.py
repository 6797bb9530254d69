"""Datasets: the rows of JSONL and CSV files. Error messages never contain the text of a row."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .failures import InputError

FIELDS: Final = ("id", "text", "voice", "model", "language", "instruct", "seed", "title")
_MAX_FIELD_CHARS: Final = 10_000_000
_DELIMITERS: Final = (",", ";", "\t")
_WHOLE: Final = re.compile(r"\s*\+?(?P<number>\d{1,18})(?:\.0*)?\s*")
_MAX_SEED: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Row:
    """A valid row; None uses the command line's value."""

    place: str
    text: str
    id: str | None = None
    title: str | None = None
    voice: str | None = None
    model: str | None = None
    language: str | None = None
    instruct: str | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """An invalid part of the input, and the reason."""

    place: str
    message: str


def read_jsonl(text: str) -> Iterator[Row | Problem]:
    """The rows of JSON lines: only a line feed ends a line."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            yield Problem(place, f"it is not JSON: {error.msg} at character {error.pos + 1}")
        except (ValueError, RecursionError):
            yield Problem(place, "it is not JSON that can be read")
        else:
            yield _row(place, row) if isinstance(row, dict) else Problem(place, "it is not a JSON object")


def read_csv(text: str) -> Iterator[Row | Problem]:
    """The rows of a CSV file, whose first line names its columns, separated by comma, semicolon or tab. Raises
    InputError."""
    csv.field_size_limit(_MAX_FIELD_CHARS)
    delimiter, names = _header(text)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    next(rows)
    while True:
        place = f"line {rows.line_num + 1}"
        try:
            values = next(rows, None)
        except csv.Error as error:
            yield Problem(place, f"it is not CSV: {error}")
            continue
        if values is None:
            return
        if not any(value.strip() for value in values):
            continue
        if len(values) > len(names) and any(value.strip() for value in values[len(names) :]):
            yield Problem(place, f"it has {len(values)} fields; the first line names {len(names)}")
            continue
        # Columns that other programs add are often empty.
        yield _row(place, {name: value for name, value in zip(names, values, strict=False) if name and value})


def _header(text: str) -> tuple[str, list[str]]:
    """The delimiter with which the first line has a column `text`, and the columns."""
    if match := re.match(r"sep=(.)\r?\n", text):
        raise InputError(f"Delete the first line, 'sep={match[1]}', which is not of CSV.")
    for delimiter in _DELIMITERS:
        try:
            names = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), [])
        except csv.Error:
            continue
        names = [name.strip().lower() for name in names]
        if "text" in names:
            if twice := next((name for name in names if name and names.count(name) > 1), None):
                raise InputError(f"The first line names the column '{twice[:40]}' twice.")
            return delimiter, names
    raise InputError(
        f"The first line has to name the columns, one of them 'text', with {', '.join(FIELDS)} to choose from and a "
        "comma, semicolon or tab between them."
    )


def _row(place: str, values: Mapping[str, Any]) -> Row | Problem:
    try:
        if unknown := sorted(set(values) - set(FIELDS)):
            raise ValueError(f"there is no field '{unknown[0][:40]}'; there are {', '.join(FIELDS)}")
        fields = {name: _text(name, values.get(name)) for name in FIELDS if name != "seed"}
        text = fields.pop("text") or ""
        if not text.strip():
            raise ValueError("it has no text")
        return Row(place, text, seed=_seed(values.get("seed")), **fields)
    except ValueError as error:
        return Problem(place, str(error))


def _text(name: str, value: object) -> str | None:
    """A field as text; a number is converted, without the `.0` that spreadsheets and data frames add."""
    if value is None or value == "":
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{name} is not a text")
    return str(value)


def _seed(value: object) -> int | None:
    if value is None or value == "":
        return None
    match = _WHOLE.fullmatch(str(value)) if isinstance(value, str | int | float) else None
    if match is None or isinstance(value, bool) or int(match["number"]) > _MAX_SEED:
        raise ValueError(f"seed is not a whole number from 0 to {_MAX_SEED}")
    return int(match["number"])
