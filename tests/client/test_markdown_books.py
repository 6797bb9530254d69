"""Markdown as chapters: what is synthesized, what is skipped and why, and that the text is otherwise unchanged."""

from pathlib import Path

import pytest

from client.batch.items import read_source
from tests.client.books import spoken_of


def chapters(path: Path, text: str) -> dict[str, list[str]]:
    (path / "notes.md").write_text(text, encoding="utf-8")
    items = read_source(path / "notes.md").items
    return dict(zip((item.title for item in items), spoken_of(items), strict=True))


def left_out(path: Path, text: str) -> list[tuple[str, str]]:
    (path / "notes.md").write_text(text, encoding="utf-8")
    source = read_source(path / "notes.md")
    found = [each for _, each in source.silent]
    found += [each for item in source.items for block in item.blocks for each in block.skipped()]
    return [(each.reason.value, each.text) for each in found]


def test_a_line_in_a_fence_or_a_comment_is_no_chapter_and_the_prose_behind_it_is_spoken(tmp_path: Path) -> None:
    text = "# One\n\n```sh\n# a line\n```\n\nProse.\n\n<!--\n# Two\n-->\n\nMore.\n\n~~~\n# x\n\n# Three\n\nEnd."
    assert chapters(tmp_path, text) == {"One": ["One.", "Prose.", "More."]}
    assert left_out(tmp_path, text) == [("code", "# a line"), ("code", "# x # Three End.")]


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("Just a note.", [""]),
        ("One\n===\n\na\n\nTwo\n---\n\nb", ["One", "Two"]),
        ("### One\n\na\n\n### Two\n\nb", ["One", "Two"]),
        ("##### Deep\n\na\n\n###### Deeper\n\nb", ["Deep"]),
        ("# Part\n\n## Chapter\n\na\n\n### Section\n\nb", ["Part", "Chapter"]),
        ("Before.\n\n# One ##\n\na", ["", "One"]),
        ("# A *title* with `code` & a [link](x)\n\na", ["A title with code & a link"]),
    ],
)
def test_headings_of_every_kind_and_level_begin_chapters_and_a_text_without_any_is_one(
    tmp_path: Path, text: str, titles: list[str]
) -> None:
    assert list(chapters(tmp_path, text)) == titles


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a<br>b", ["a\nb"]),
        ("| Name | Age |\n|---|---|\n| Bob | 3 |", ["Name, Age.", "Bob, 3."]),
        ("Term\n: What it is", ["Term.", "What it is."]),
        ("3. three\n4. four", ["3. three.", "4. four."]),
        ("- a\n- b!", ["a.", "b!"]),
        ("**重要：**内容", ["重要：内容"]),
        ("In 1914[^1] it began.\n\n[^1]: Or so.", ["In 1914 it began."]),
        ("    four spaces", ["four spaces"]),
        ("List<String> and <sighs> stay.", ["List<String> and <sighs> stay."]),
        ("The <title> tag\n\nand more", ["The <title> tag", "and more"]),
        ("A\n\n<script>\nalert(1)\n</script>\n\nB", ["A", "B"]),
        ("<details><summary>Sum</summary>\n\nInside.\n\n</details>", ["Sum.", "Inside."]),
        ("---\n\nProse between rules.\n\n---\n\nMore.", ["Prose between rules.", "More."]),
        ("See https://www.example.com/a?b=c now.", ["See example.com now."]),
        ("H<sub>2</sub>O and 5 m<sup>2</sup>", ["H2O and 5 m2"]),
    ],
)
def test_markup_is_read_as_a_page_shows_it(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert [line for lines in chapters(tmp_path, text).values() for line in lines] == expected


def test_what_is_skipped_is_reported_with_its_reason(tmp_path: Path) -> None:
    text = (
        "---\ntitle: x\n---\nA😀 b[^n] ![a cat](cat.png) <span hidden>secret</span> c.\n\n"
        "```py\nx = 1\n```\n\n1914<sup>2</sup>\n\n[^n]: The note."
    )
    assert left_out(tmp_path, text) == [
        ("metadata", "title: x"),
        ("emoji", "😀"),
        ("note reference", "[1]"),
        ("description of a picture", "a cat"),
        ("hidden", "secret"),
        ("code", "x = 1"),
        ("note reference", "2"),
        ("note", "The note. ↩︎"),
    ]


def test_what_a_document_says_of_itself_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text('---\ntitle: "On tea"\nauthor: A. Nobody\nlang: de\ntags:\n  - x\n---\nText.')
    source = read_source(tmp_path / "a.md")
    assert (source.title, source.author, source.language) == ("On tea", "A. Nobody", "de")
    assert spoken_of(source.items) == [["Text."]]
