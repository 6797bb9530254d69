"""Datasets: rows as JSONL and CSV define them, and errors that name the line and never print the text."""

import json
from pathlib import Path

import pytest

from client.batch.items import InputError, Source, read_source
from tests.client.books import spoken_of


def read(path: Path, name: str, content: str | bytes) -> Source:
    (path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_source(path / name)


def texts(source: Source) -> list[str]:
    return [" ".join(parts) for parts in spoken_of(source.items)]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\f", "\v", "\x1c"])
def test_only_a_line_feed_ends_a_row(tmp_path: Path, separator: str) -> None:
    row = {"text": f"one{separator}two"}
    jsonl = json.dumps(row, ensure_ascii=False) + "\r\n" + json.dumps({"text": "three"})
    assert len(read(tmp_path, "a.jsonl", jsonl).items) == 2
    source = read(tmp_path, "a.csv", f'text,id\n"one{separator}two",a\nthree,b\n')
    assert texts(source) == ["one two", "three"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_spreadsheets_of_every_country_are_read(tmp_path: Path, encoding: str, delimiter: str) -> None:
    lines = (delimiter.join(("ID", "Text", "Seed")), delimiter.join(('"1"', '"a, b; ""c"""', "7.0")))
    source = read(tmp_path, "a.csv", "\r\n".join(lines).encode(encoding))
    assert (source.problems, texts(source)) == ((), ['a, b; "c"'])
    assert (source.items[0].name, source.items[0].seed) == ("1", 7)


def test_a_field_of_any_length_and_over_several_lines_is_whole(tmp_path: Path) -> None:
    text = "word " * 60_000
    source = read(tmp_path, "a.csv", f'text\n"{text}"\n"two\nlines"\n')
    assert len(texts(source)[0]) == len(text.strip())
    assert texts(source)[1] == "two\nlines"


def test_numbers_are_taken_as_spreadsheets_write_them(tmp_path: Path) -> None:
    rows = [{"id": 1.0, "text": 42, "seed": 7.0}, {"id": 2, "text": "b", "seed": "8.0"}]
    source = read(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert [(item.name, item.seed) for item in source.items] == [("1", 7), ("2", 8)]
    assert texts(source) == ["42", "b"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('"secret words"', "it is not a JSON object"),
        ('["secret words"]', "it is not a JSON object"),
        ('{"text": "secret words"', "it is not JSON"),
        ('{"text": "secret words", "seed": "secret words"}', "seed is not a whole number"),
        ('{"text": "secret words", "seed": 1.5}', "seed is not a whole number"),
        ('{"text": "secret words", "seed": true}', "seed is not a whole number"),
        ('{"text": "secret words", "seed": 99999999999999999999}', "seed is not a whole number"),
        ('{"text": ["secret words"]}', "text is not a text"),
        ('{"text": " "}', "it has no text"),
        ('{"text": "secret words", "speed": 2}', "there is no field 'speed'"),
        ("[" * 100_000, "it is not JSON that can be read"),
    ],
)
def test_a_reason_is_accurate_and_never_prints_the_text(tmp_path: Path, line: str, why: str) -> None:
    source = read(tmp_path, "a.jsonl", f'{{"text": "good"}}\n{line}\n')
    [problem] = source.problems
    assert problem.place == "line 2"
    assert why in problem.message
    assert "secret" not in problem.message
    assert texts(source) == ["good"]


def test_rows_of_csv_that_do_not_fit_are_named_by_their_line(tmp_path: Path) -> None:
    source = read(tmp_path, "a.csv", 'id,text\na,one\n\nb,"two\nlines",3\nc,,\nd\n,"four"\na,five\n')
    assert [(problem.place, problem.message) for problem in source.problems] == [
        ("line 4", "it has 3 fields; the first line names 2"),
        ("line 6", "it has no text"),
        ("line 7", "it has no text"),
        ("line 9", "its id is that of line 2"),
    ]
    assert texts(source) == ["one", "four"]


@pytest.mark.parametrize("content", ["secret words\nmore", "", "id;txt\n1;x", "text,text\na,b", "sep=;\ntext\na"])
def test_a_table_without_a_text_column_is_refused_without_printing_it(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match="first line") as error:
        read(tmp_path, "a.csv", content)
    assert "secret" not in str(error.value)


def test_names_of_files_are_safe_and_each_is_there_once(tmp_path: Path) -> None:
    rows = [{"id": name, "text": "x"} for name in ("../../e", "A", "a", "日本", "", "x" * 300)]
    names = [item.name for item in read(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))).items]
    assert names[:5] == ["e", "A", "a-003", "日本", "a-005"]
    assert len(names[5]) <= 80
