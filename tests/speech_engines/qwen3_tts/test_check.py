"""`make check-model`, end to end on the tiny checkpoint: agreement, and differences with a wrong kernel."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tape import TapeRecorder
from tests.support.types import CheckpointOf

pytestmark = pytest.mark.skipif(importlib.util.find_spec("qwen_tts") is None, reason="needs the extra 'qwen'")

CPU = {"DEVICE": "cpu", "DTYPE": "float32", "MAX_BATCH": "2"}


def check(folder: Path | str, output: Path, recorder: TapeRecorder | None = None, **settings: str) -> tuple[int, Any]:
    """The exit code, and the report."""
    from speech_engines.qwen3_tts.check.__main__ import main

    arguments = [str(folder), "--frames", "16", "--seconds", "0.4", "--output", str(output)]
    code = main(arguments, {**CPU, **settings}, recorder)
    return code, json.loads(output.read_text(encoding="utf-8"))


@pytest.mark.parametrize("variant", ["custom_voice", "base"])
def test_everything_agrees_on_the_tiny_checkpoint_and_the_exit_code_is_zero(
    tiny_checkpoint: CheckpointOf, tmp_path: Path, capsys: pytest.CaptureFixture[str], variant: str
) -> None:
    recorder = TapeRecorder()
    code, report = check(tiny_checkpoint(variant), tmp_path / "check.json", recorder)
    assert (code, report["agrees"]) == (0, True)
    assert [check["passed"] for check in report["checks"]] == [True] * 5
    assert report["model"] == f"qwen3_tts_{variant}"
    assert set(report["load_s"]) == {
        "imports", "talker and predictor", "codec", "tokenizer and voices", "caches", "graphs", "warm-up",
    }  # fmt: skip
    assert report["device"]["dtype"] == "float32"
    assert [row["rows"] for row in report["speed"]] == [1, 2]
    assert all(row["ttfa_ms"] > 0 and row["x_real_time"] > 0 for row in report["speed"])
    assert report["memory_gib"] > 0
    printed = capsys.readouterr().out
    assert "everything agrees" in printed
    assert str(tmp_path) not in json.dumps(report)


def test_graphs_that_differ_are_named_and_the_exit_code_is_not_zero(
    tiny_checkpoint: CheckpointOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = check(tiny_checkpoint("custom_voice"), tmp_path / "check.json", TapeRecorder(wrong_by=1.0))
    assert (code, report["agrees"]) == (1, False)
    [graphs, *others] = report["checks"]
    assert "a frame of 2 rows and 512 positions gives other results" in graphs["detail"]
    assert [check["passed"] for check in others] == [True] * 4  # what is used instead is right
    assert "NOT EVERYTHING AGREES" in capsys.readouterr().out


def test_a_kernel_that_is_wrong_on_purpose_is_found(
    tiny_checkpoint: CheckpointOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from speech_engines.qwen3_tts.codec.layers import Snake

    right = Snake.__call__

    def wrong(self: Snake, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        return right(self, x, out).add_(0.02)

    monkeypatch.setattr(Snake, "__call__", wrong)
    code, report = check(tiny_checkpoint("custom_voice"), tmp_path / "check.json")
    assert code == 1
    failed = [check for check in report["checks"] if check["passed"] is False]
    assert [check["name"] for check in failed] == ["codes of qwen-tts"]
    assert failed[0]["detail"].startswith("16 of 16 frames are equal, samples at most")


def test_a_product_that_depends_on_the_batch_is_found(
    tiny_checkpoint: CheckpointOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from speech_engines.qwen3_tts.model.talker import Talker

    right = Talker.logits

    def wrong(self: Talker, hidden: torch.Tensor) -> torch.Tensor:
        logits = right(self, hidden)
        return logits if len(hidden) == 1 else logits.roll(7, -1)

    monkeypatch.setattr(Talker, "logits", wrong)
    _, report = check(tiny_checkpoint("custom_voice"), tmp_path / "check.json")
    assert [check["name"] for check in report["checks"] if check["passed"] is False] == ["batch = single"]


@pytest.mark.parametrize(("levels", "passed"), [(None, (True, None)), (1, (False, None))])
def test_int8_weights_are_compared_with_full_ones_code_by_code(
    tiny_checkpoint: CheckpointOf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    levels: int | None,
    passed: tuple[bool | None, ...],
) -> None:
    from speech_engines.qwen3_tts.model import int8

    if not int8.is_available():
        pytest.skip("this CPU has no AVX2")
    monkeypatch.setattr("speech_engines.qwen3_tts.model.weights._SMALL_NUMBERS", 0)  # as if tiny weights were large
    if levels is not None:
        monkeypatch.setattr(int8, "weight_levels", lambda: levels)
    _, report = check(tiny_checkpoint("custom_voice"), tmp_path / "check.json")
    found = report["checks"][-1]
    assert found["name"] == "int8 = full weights"
    assert found["passed"] in passed
    top_1, top_5 = (float(share) / 100 for share in re.findall(r"top-[15] ([\d.]+)%", found["detail"])[:2])
    assert (top_1 > 0.8) == (levels is None)
    assert (top_5 > 0.8) == (levels is None)
    assert "16 frames; codebook 0: top-1" in found["detail"]
    assert "; predictor: top-1" in found["detail"]


@pytest.mark.parametrize(
    ("settings", "folder", "reason"),
    [
        ({"DEVICE": "tpu"}, None, "DEVICE is 'tpu'"),
        ({}, "nowhere/at/all", "There is no folder"),
    ],
)
def test_what_cannot_be_loaded_is_reported_and_the_exit_code_is_not_zero(
    tiny_checkpoint: CheckpointOf, tmp_path: Path, settings: dict[str, str], folder: str | None, reason: str
) -> None:
    code, report = check(folder or tiny_checkpoint("custom_voice"), tmp_path / "check.json", **settings)
    assert code == 1
    assert reason in report["failure"]
