"""The benchmark suite as one command, on tiny checkpoints: it produces every figure of docs/benchmarks.md."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.summary import BEGIN, END, FIGURES, lines_of, render

pytestmark = pytest.mark.skipif(importlib.util.find_spec("qwen_tts") is None, reason="needs the extra 'qwen'")

ROOT = Path(__file__).parent.parent.parent
PAGE = f"Before.\n{BEGIN}stale\n{END}After.\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After one run of the whole suite."""
    from tests.support.checkpoints import build_checkpoint

    folder = tmp_path_factory.mktemp("suite")
    (folder / "benchmarks.md").write_text(PAGE, encoding="utf-8")
    checkpoint = build_checkpoint(folder / "tiny", "custom_voice", "tiny-endless")
    options = {
        "--checkpoint": checkpoint,
        "--tiny": checkpoint,
        "--results": folder,
        "--page": folder / "benchmarks.md",
    }
    arguments = [str(word) for option in options.items() for word in option]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments, "--quick"],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.timeout(1200)
def test_every_figure_that_needs_no_gpu_is_measured(folder: Path) -> None:
    measured = {line.figure.name for line in lines_of(folder)}
    assert measured == {figure.name for figure in FIGURES if figure.file != "gpu"}
    assert all(line.value > 0 for line in lines_of(folder) if not line.figure.key.startswith("growth"))


def test_the_page_holds_the_table_between_its_markers_and_keeps_the_rest(folder: Path) -> None:
    text = (folder / "benchmarks.md").read_text(encoding="utf-8")
    assert text == PAGE.replace("stale\n", render(folder))
    assert all(line.result["command"] in text for line in lines_of(folder))


def test_every_result_has_a_picture(folder: Path) -> None:
    pictures = {path.stem for path in folder.glob("*.png")}
    assert pictures == {path.stem for path in folder.glob("*.json")}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in folder.glob("*.png"))
