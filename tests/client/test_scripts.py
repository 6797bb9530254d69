"""The scripts for people, against a running stack."""

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import soundfile

from client import batch_synthesize, smoke
from client.smoke import CHECKS
from speech_protocol.audio import SAMPLE_RATE_HZ
from speech_protocol.request import SpeechRequest
from tests.support.listening import decode, transcribe, word_error_rate, words
from tests.support.stack import Frontend, Stack

PARAGRAPHS = (
    "There is nothing better than a good cup of coffee.",
    "The children are playing in the garden behind the house.",
)


def test_every_smoke_check_passes_on_our_own_server(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["smoke", stack.frontend.url])
    with pytest.raises(SystemExit) as exit_:
        smoke.main()
    assert exit_.value.code == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{len(CHECKS)} passed, 0 failed"


def test_the_scripts_send_the_key_of_the_environment(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = str(Path(__file__).parent.parent / "quick.sh")
    with Frontend(
        triton_url=stack.triton.url, default_model="hibari", idle_timeout=0, api_keys="sk-1", open_lists=False
    ) as frontend:
        monkeypatch.setenv("TTS_API_KEY", "sk-1")
        server = smoke.Server(frontend.url)
        assert all(smoke.CHECKS[name](server) for name in ("voices", "synthesis"))
        assert subprocess.run(["sh", script, frontend.url], cwd=tmp_path, timeout=60).returncode == 0
        monkeypatch.delenv("TTS_API_KEY")
        assert server.get("/v1/audio/voices").status == 401
        assert subprocess.run(["sh", script, frontend.url], cwd=tmp_path, timeout=60).returncode != 0


def test_smoke_fails_where_there_is_no_server(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["smoke", "http://127.0.0.1:9"])
    with pytest.raises(SystemExit) as exit_:
        smoke.main()
    assert exit_.value.code == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"0 passed, {len(CHECKS)} failed"


@pytest.mark.skipif(shutil.which("curl") is None, reason="the script is a curl line")
def test_the_quick_script_writes_a_recording(stack: Stack, tmp_path: Path) -> None:
    script = Path(__file__).parent.parent / "quick.sh"
    subprocess.run(["sh", str(script), stack.frontend.url], cwd=tmp_path, check=True, timeout=60)
    samples = decode((tmp_path / "test_output.wav").read_bytes(), "wav")
    assert word_error_rate(transcribe(samples), words(PARAGRAPHS[0])) <= 0.1


def test_a_text_file_becomes_one_recording_with_a_pause_between_paragraphs(stack: Stack, tmp_path: Path) -> None:
    text, output = tmp_path / "book.txt", tmp_path / "book.wav"
    text.write_text("\n\n".join(PARAGRAPHS))
    triton = stack.triton.url.partition("://")[2]
    lengths = []
    for pause_ms in (500, 2000):
        arguments = [str(text), str(output), "--triton", triton, "--seed", "7", "--pause-ms", str(pause_ms)]
        batch_synthesize.main(arguments)
        samples, rate_hz = soundfile.read(output, dtype="float32")
        assert rate_hz == SAMPLE_RATE_HZ
        lengths.append(len(samples))
    assert lengths[1] - lengths[0] == pytest.approx(1.5 * SAMPLE_RATE_HZ, abs=1)
    assert transcribe(samples) == words(" ".join(PARAGRAPHS))


def test_an_error_of_the_batch_model_is_one_clear_line(stack: Stack, tmp_path: Path) -> None:
    text = tmp_path / "book.txt"
    text.write_text("Hello.")
    triton = stack.triton.url.partition("://")[2]
    arguments = [str(text), str(tmp_path / "book.wav"), "--triton", triton, "--speaker", "nobody"]
    with pytest.raises(SystemExit) as exit_:
        batch_synthesize.main(arguments)
    assert "unknown_speaker" in str(exit_.value.code)


def test_a_paragraph_cut_short_is_named_in_a_warning(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_synthesize, "SpeechRequest", partial(SpeechRequest, max_audio_seconds=2.0))
    text, output = tmp_path / "book.txt", tmp_path / "book.wav"
    text.write_text(f"Yes.\n\n{' '.join(PARAGRAPHS)}\n\nNo.")
    batch_synthesize.main([str(text), str(output), "--triton", stack.triton.url.partition("://")[2]])
    assert capsys.readouterr().err.splitlines() == ["warning: paragraph 2 is not complete (length)"]
    assert output.exists()


@pytest.mark.parametrize(
    ("file", "options", "line"),
    [
        ("missing.txt", [], "missing.txt"),
        ("binary.txt", [], "binary.txt is not UTF-8 text."),
        ("book.txt", ["--triton", "127.0.0.1:9"], "No connection to Triton at 127.0.0.1:9: "),
        ("book.txt", ["--concurrency", "0"], "--concurrency is 0; it must be at least 1."),
        ("book.txt", ["--concurrency", "-1"], "--concurrency is -1; it must be at least 1."),
    ],
)
def test_a_mistake_in_the_command_is_one_clear_line(tmp_path: Path, file: str, options: list[str], line: str) -> None:
    (tmp_path / "book.txt").write_text("Hello.")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(SystemExit) as exit_:
        batch_synthesize.main([str(tmp_path / file), str(tmp_path / "book.wav"), *options])
    message = str(exit_.value.code)
    assert line in message
    assert len(message.splitlines()) == 1


@pytest.mark.timeout(10)  # linear joining needs 0.1 s, quadratic more than a minute
def test_recordings_are_joined_in_time_that_grows_with_their_length_only() -> None:
    segment = batch_synthesize.AudioSegment.silent(20, frame_rate=SAMPLE_RATE_HZ)
    book = batch_synthesize.join([segment] * 20_000, 20)
    assert len(book.raw_data) == 39_999 * len(segment.raw_data)
