"""The tests of `make test-fast` need no tritonserver and no torch, so that they run anywhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = re.compile(
    r"\bTritonProcess\b|\bimport .*\bStack\b|\bqwen_stack\b|\btiny_checkpoint\b|^\s*(?:import|from) torch\b", re.M
)
COMMAND = re.search(r"^test-fast:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
FOLDERS = re.findall(r"\btests/\S+", COMMAND[1] if COMMAND else "")


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_fast_test_uses_tritonserver_or_torch(folder: str) -> None:
    files = [file for file in (ROOT / folder).rglob("*.py") if file != Path(__file__)]
    assert files
    assert [str(file.relative_to(ROOT)) for file in files if HEAVY.search(file.read_text(encoding="utf-8"))] == []


def test_the_frontends_tests_are_fast_ones() -> None:
    assert {"tests/openai_frontend", "tests/speech_client", "tests/speech_protocol", "tests/speech_text"} <= {*FOLDERS}
