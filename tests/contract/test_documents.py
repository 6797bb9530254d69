"""Documents are compared with the code, so that they stay correct."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from bench.summary import render, rewrite
from openai_frontend.app import create_app
from openai_frontend.settings import Settings
from openai_frontend.settings.groups import GROUPS
from openai_frontend.settings.profiles import PROFILES
from openai_frontend.settings.variables import OTHER_VARIABLES
from openai_frontend.voices.names import OPENAI_VOICES, SPEAKERS
from speech_engines.qwen3_tts.config import EngineConfig
from tests.contract import conformance

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    *(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
]


def table_after(heading: str, document: str = README) -> list[list[str]]:
    """The cells of the first table below a heading, without header and rule."""
    section = document.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def settings_rows(group: type[BaseSettings]) -> list[list[str]]:
    return [
        [f"`{name.upper()}`", "" if field.default in ("", {}, None) else f"`{field.default}`", field.description or ""]
        for name, field in group.model_fields.items()
    ]


@pytest.mark.parametrize("title", GROUPS)
def test_the_settings_tables_are_the_settings(title: str) -> None:
    assert table_after(title, (ROOT / "docs/settings.md").read_text()) == settings_rows(GROUPS[title])


def test_the_table_of_profiles_is_the_profiles() -> None:
    rows = table_after("Profiles", (ROOT / "docs/settings.md").read_text())
    stated = {name.strip("`"): values for name, _, values in rows}
    assert stated == {
        name: ", ".join(f"`{field.upper()}={value}`" for field, value in values.items())
        for name, values in PROFILES.items()
    }


def test_the_variables_of_the_engine_are_not_taken_for_misspelled_settings() -> None:
    engine = {field.name.upper() for field in fields(EngineConfig)}
    assert engine - {name.upper() for name in Settings.model_fields} <= OTHER_VARIABLES


def test_the_endpoints_table_is_the_routes() -> None:
    paths = create_app(Settings()).openapi()["paths"]
    routes = {f"`{method.upper()} {path}`" for path, methods in paths.items() for method in methods}
    assert {row[0] for row in table_after("Endpoints", (ROOT / "docs/openai-api.md").read_text())} == routes


def test_the_voice_table_is_the_mapping() -> None:
    section = README.split("## Models and voices\n", 1)[1]
    header, _, row = [line for line in section.splitlines() if line.startswith("|")][:3]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (header, row)]
    assert dict(zip(*cells, strict=True)) == OPENAI_VOICES
    assert all(speaker.name in README for speaker in SPEAKERS)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_command_in_a_document_exists(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    for line in re.findall(r"^make ([^#\n]+)|`make ([^`]+)`", (ROOT / document).read_text(), re.MULTILINE):
        words = [word for word in "".join(line).split() if "=" not in word and word.isascii()]
        assert words[0] in targets, line


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_to_a_file_leads_somewhere(document: str) -> None:
    path = ROOT / document
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text()):
        assert (path.parent / link).exists(), link


def test_the_readme_is_at_most_150_lines() -> None:
    assert len(README.splitlines()) <= 150


def test_the_measured_table_is_what_the_results_say(tmp_path: Path) -> None:
    page = (ROOT / "docs/benchmarks.md").read_text()
    copy = tmp_path / "benchmarks.md"
    copy.write_text(page)
    rewrite(copy, render(ROOT / "bench/results"))
    assert copy.read_text() == page


def test_the_figures_of_the_readme_are_in_the_table_of_benchmarks() -> None:
    page = (ROOT / "docs/benchmarks.md").read_text()
    for what, figure in table_after("Measured")[:4]:
        assert re.search(
            rf"\| {what.replace(' of 10 s', ', of 10 s')}\b[^|]*\| {re.escape(figure.split(' of its')[0])}", page
        ), what


def test_the_page_of_conformance_is_what_the_promises_say() -> None:
    assert conformance.PAGE.read_text() == conformance.render()


def test_every_test_that_a_document_names_exists() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = [name for document in DOCUMENTS for name in re.findall(r"`(test_\w+)`", (ROOT / document).read_text())]
    assert named
    assert [name for name in named if f"def {name}(" not in tests] == []


def test_every_script_named_in_the_readme_exists() -> None:
    for module in re.findall(r"python -m ([a-z_.]+)", README):
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), module


def test_the_places_that_contributing_names_exist() -> None:
    rows = table_after("Where to change what", (ROOT / "CONTRIBUTING.md").read_text())
    places = [place for _, cell in rows for place in re.findall(r"`([\w.]+)` in `([\w/.]+)`", cell)]
    assert len(places) >= len(rows) - 1
    for symbol, file in places:
        source = (ROOT / file).read_text()
        for name in symbol.split("."):
            assert re.search(rf"(class|def) {name}\b|^{name}\b", source, re.MULTILINE), f"{symbol} in {file}"
