"""Writes docs/conformance.md from promises.toml: `python -m tests.contract.conformance`."""

import tomllib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs/conformance.md"
HEAD: Final = """# Conformance

What the documents promise, and the tests that hold each promise. Written by `python -m tests.contract.conformance` from
`tests/contract/promises.toml`; run one with `make test ARGS="-k NAME"`.
"""


def promises() -> list[dict[str, Any]]:
    """Each with `document`, `section`, `promise` and `tests`."""
    with (Path(__file__).parent / "promises.toml").open("rb") as file:
        found: list[dict[str, Any]] = tomllib.load(file)["promise"]
    return found


def render() -> str:
    """The page."""
    return HEAD + "".join(_lines())


def _lines() -> Iterator[str]:
    for (document, section), rows in groupby(promises(), lambda row: (row["document"], row["section"])):
        target = document.removeprefix("docs/") if document.startswith("docs/") else f"../{document}"
        yield f"\n## {section or document}\n\nOf [{document}]({target}).\n\n| promise | tests |\n|---|---|\n"
        for row in rows:
            tests = ", ".join(f"`{name}`" for name in row["tests"])
            yield f"| {row['promise']} | {tests} |\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
