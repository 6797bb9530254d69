"""`tts-load-test` against a whole stack, and with invalid arguments."""

import json
from pathlib import Path

import pytest

from client import load_test
from client.load.prompts import LANGUAGES, PROMPTS
from speech_protocol.languages import LANGUAGES as SPOKEN
from tests.support.stack import Stack

DOCUMENT = Path(__file__).parents[2] / "docs/load-testing.md"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        load_test.main(arguments)
    return exit_.value.code if isinstance(exit_.value.code, int) else 3


def test_a_sweep_over_the_frontend_and_over_triton_gives_a_table_a_file_and_a_picture(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, picture = tmp_path / "load.json", tmp_path / "load.png"
    targets = (f"ours={stack.frontend.url}", f"engine=triton+{stack.triton.url}?model=hibari&voice=heart")
    status = run(*targets, "--clients", "1,3", "--seconds", "1", "--output", str(output), "--plot", str(picture))
    assert status == 0
    result = json.loads(output.read_text())
    assert [(row["target"], row["load"]) for row in result["loads"]] == [
        *(("ours", "1 clients"), ("ours", "3 clients"), ("engine", "1 clients"), ("engine", "3 clients"))
    ]
    for row in result["loads"]:
        assert row["served"] == row["requests"] > 0
        assert row["ttfa_s"]["p50"] <= row["ttfa_s"]["p95"]
        assert row["audio_s"] > 0.5 * row["served"]
        assert row["leading_silence_s"]["p50"] is not None
    assert result["machine"]["cores"] >= 1
    assert result["versions"]["aiohttp"]
    assert result["settings"]["seconds"] == 1
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "| engine | 3 clients |" in capsys.readouterr().out


def test_an_open_loop_with_cancellations_in_another_format(stack: Stack, tmp_path: Path) -> None:
    output = tmp_path / "load.json"
    arguments = ("--rates", "20", "--cancel", "0.5", "--seconds", "1", "--format", "mp3", "--prompts", "long")
    assert run(stack.frontend.url, *arguments, "--output", str(output)) == 0
    [row] = json.loads(output.read_text())["loads"]
    assert row["served"] + row["cancelled"] == row["requests"] > 5
    assert row["audio_s"] == 0  # not decoded


def test_requests_that_fail_end_in_exit_code_1(stack: Stack, tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.write_text("Hello.\n[pause:1s]\n")  # the second one is refused
    output = tmp_path / "load.json"
    arguments = ("--clients", "2", "--seconds", "1", "--prompts", str(texts), "--output", str(output))
    assert run(stack.frontend.url, *arguments) == 1
    [row] = json.loads(output.read_text())["loads"]
    assert row["failures"]["status 400"] > 0


@pytest.mark.parametrize("target", ["127.0.0.1:8101", "ours=ftp://x", "http://127.0.0.1:1?voices=a"])
def test_what_is_no_target_is_said(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="is not"):
        load_test.main([target])


def test_a_server_that_is_not_there_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("gone=http://127.0.0.1:9") == 2
    assert "gone is unreachable" in capsys.readouterr().err


def test_a_picture_without_matplotlib_is_refused_before_the_load_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(load_test, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"--plot needs matplotlib, .* pip install .* matplotlib"):
        load_test.main(["--plot", str(tmp_path / "load.png"), "http://127.0.0.1:9"])


def test_there_is_a_prompt_in_every_language() -> None:
    assert len(LANGUAGES) == len(SPOKEN)
    assert all(len(set(texts)) == len(texts) for texts in PROMPTS.values())


def test_the_help_is_in_the_documentation(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert run("--help") == 0
    words = capsys.readouterr().out.split()
    assert " ".join(words) in " ".join(DOCUMENT.read_text(encoding="utf-8").split())
