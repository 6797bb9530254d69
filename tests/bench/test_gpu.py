"""The GPU benchmark, end to end on the CPU with a tiny checkpoint."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
# As on a machine that has torch, safetensors and tokenizers only.
WITHOUT_QWEN_TTS = """
import importlib.util, runpy, sys
absent = ("qwen_tts", "transformers", "torchaudio", "matplotlib", "psutil")
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in absent else find_spec(name, *rest)
sys.modules.update(dict.fromkeys(absent))
runpy.run_module("bench.gpu", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gpu")


@pytest.fixture(scope="module")
def printed(folder: Path) -> str:
    arguments = ["--device", "cpu", "--sizes", "tiny", "--streams", "1", "3", "--frames", "6", "--rounds", "1"]
    arguments += ["--checkpoints", str(folder / "models"), "--output", str(folder / "gpu.json")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_QWEN_TTS, *arguments],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def result(printed: str, folder: Path) -> Any:
    return json.loads((folder / "gpu.json").read_text(encoding="utf-8"))


def test_every_part_is_measured_without_qwen_tts(result: Any) -> None:
    parts = result["measurements"]["tiny"]
    assert [row["streams"] for row in parts["streams"]] == [1, 3]
    times = ("x_real_time", "ttfa_p50_ms", "ttfa_p95_ms", "step_p50_ms", "step_p95_ms")
    assert all(row[name] > 0 for row in parts["streams"] for name in times)
    waits = ("joining_ttfa_ms", "cancel_to_free_ms", "cancel_to_next_audio_ms")
    assert all(parts[name] > 0 for name in waits)
    assert len(parts["load_s"]) == 2
    assert parts["qwen_tts"] == "not installed"
    assert result["figures"]["tiny_streams_3_x_real_time"] == round(parts["streams"][1]["x_real_time"], 4)


def test_the_result_says_how_it_was_made_and_names_no_folder_of_this_machine(result: Any, folder: Path) -> None:
    assert result["command"].startswith("python -m bench.gpu --device cpu --sizes tiny")
    assert result["versions"]["torch"]
    assert result["machine"]["cores"]
    assert str(folder) not in json.dumps(result)


def test_it_prints_a_table_in_markdown(printed: str) -> None:
    lines = printed.splitlines()
    assert "| --- | --- | --- | --- | --- | --- | --- | --- |" in lines
    assert sum(line.startswith("| tiny | 3 |") for line in lines) == 2  # as it is measured, and at the end


def test_what_was_measured_before_a_failure_is_kept(folder: Path, printed: str) -> None:
    broken = folder / "models/stand-in-0.6b"
    (broken / "speech_tokenizer").mkdir(parents=True)
    (broken / "speech_tokenizer/model.safetensors").touch()
    arguments = ["--device", "cpu", "--sizes", "tiny", "0.6b", "--streams", "1", "--frames", "3", "--rounds", "1"]
    arguments += ["--checkpoints", str(folder / "models"), "--output", str(folder / "partial.json")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_QWEN_TTS, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "0.6b" in done.stderr.splitlines()[-1]
    measurements = json.loads((folder / "partial.json").read_text(encoding="utf-8"))["measurements"]
    assert measurements["tiny"]["streams"]
    assert "failure" in measurements["0.6b"]
