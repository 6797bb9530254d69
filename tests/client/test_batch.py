"""Books and datasets through Triton: every kind of input and output, and every kind of interruption."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
import soundfile

from client import batch_synthesize
from speech_protocol.audio import SAMPLE_RATE_HZ
from tests.support.listening import decode, transcribe, word_error_rate, words
from tests.support.processes import has_ended, stub_of
from tests.support.stack import Gate, Stack
from tests.support.waiting import eventually

DOCUMENT = Path(__file__).parents[2] / "docs/batch.md"
COFFEE = "There is nothing better than a good cup of coffee."
GARDEN = "The children are playing in the garden behind the house."
BOOK = f"Before all.\n\n# The first one\n\n{COFFEE}\n\n## The second one\n\n{GARDEN} *Every* day.\n\n# Empty\n"
TIMEOUT_S = 120
BLOCK = SAMPLE_RATE_HZ // 20


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("batch")
    with Stack(folder, default_model="hibari", idle_timeout=0) as running:
        yield running


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with Gate(tmp_path) as gate:
        yield gate


def address(stack: Stack) -> str:
    return stack.triton.url.partition("://")[2]


def where(stack: Stack) -> list[str]:
    return ["--triton", address(stack), "--server", stack.frontend.url]


def run(stack: Stack, *arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        batch_synthesize.main([*map(str, arguments), *where(stack)])
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_text_becomes_one_recording_with_a_pause_between_paragraphs(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text(f"{COFFEE}\n\n{GARDEN}")
    assert run(stack, tmp_path / "two.txt", "-o", tmp_path / "out") == 0
    samples, rate_hz = soundfile.read(tmp_path / "out/two-001.wav", dtype="float32")
    assert rate_hz == SAMPLE_RATE_HZ
    assert transcribe(samples) == words(f"{COFFEE} {GARDEN}")
    blocks = samples[: len(samples) // BLOCK * BLOCK].reshape(-1, BLOCK)
    assert "0" * 15 in "".join("0" if abs(block).max() < 0.01 else "1" for block in blocks)  # 0.75 s
    assert not (tmp_path / "out/.work").exists()


@pytest.mark.parametrize("file_format", ["wav", "flac", "mp3", "opus"])
def test_every_format_says_the_words_and_carries_its_tags(stack: Stack, tmp_path: Path, file_format: str) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"id": "coffee", "title": "On coffee", "text": COFFEE}) + "\n")
    arguments = ("--format", file_format, "--author", "Nobody", "--title", "Drinks")
    assert run(stack, tmp_path / "rows.jsonl", "-o", tmp_path, *arguments) == 0
    file = tmp_path / f"coffee.{file_format}"
    assert word_error_rate(transcribe(decode(file.read_bytes(), file_format)), words(COFFEE)) <= 0.1
    if file_format in {"mp3", "opus"}:
        with av.open(str(file)) as container:
            tags = {**container.metadata, **container.streams.audio[0].metadata}
        tags = {name.lower(): value for name, value in tags.items()}
        assert (tags["title"], tags["artist"], tags["album"]) == ("On coffee", "Nobody", "Drinks")


@pytest.mark.parametrize("file_format", ["m4b", "mp3"])
def test_a_book_has_chapter_marks_and_captions_where_its_words_are(
    stack: Stack, tmp_path: Path, file_format: str
) -> None:
    (tmp_path / "book.md").write_text(BOOK)
    arguments = ("--book", "--format", file_format, "--captions", "srt", "--voice", "alloy")
    assert run(stack, tmp_path / "book.md", "-o", tmp_path, *arguments) == 0
    with av.open(str(tmp_path / f"book.{file_format}")) as container:
        chapters = container.chapters()
        length_s = container.duration / 1e6
        samples = decode((tmp_path / f"book.{file_format}").read_bytes(), "mp3" if file_format == "mp3" else "aac")
    assert [chapter["metadata"]["title"] for chapter in chapters] == ["1", "The first one", "The second one", "Empty"]
    ends_s = [float(chapter["end"] * chapter["time_base"]) for chapter in chapters]
    begins_s = [float(chapter["start"] * chapter["time_base"]) for chapter in chapters]
    assert begins_s == pytest.approx([0.0, *ends_s[:-1]], abs=0.01)
    assert ends_s[-1] == pytest.approx(length_s, abs=0.2)
    captions = re.findall(
        r"(\d\d):(\d\d):(\d\d),(\d{3}) --> (\d\d):(\d\d):(\d\d),(\d{3})\n(.+)", (tmp_path / "book.srt").read_text()
    )
    [coffee] = [caption for caption in captions if caption[8] == COFFEE]
    begin_s, end_s = (
        sum(int(part) * unit for part, unit in zip(parts, (3600, 60, 1, 0.001), strict=True))
        for parts in (coffee[:4], coffee[4:8])
    )
    assert begins_s[1] < begin_s < end_s <= ends_s[1]
    heard = transcribe(samples[round(begin_s * SAMPLE_RATE_HZ) : round((end_s + 0.2) * SAMPLE_RATE_HZ)])
    assert word_error_rate(heard, words(COFFEE)) <= 0.1


def test_a_broken_row_is_named_by_its_line_and_the_rest_is_done(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (f'a,"{COFFEE}",7', "b,,8", "c,Hello.,x", "a,Twice.,1", 'd,"1,2",3,4', "../e,Yes.,")
    (tmp_path / "rows.csv").write_text("\n".join(("id,text,seed", *rows)))
    assert run(stack, tmp_path / "rows.csv", "-o", tmp_path / "out") == 1
    said = capsys.readouterr().err
    for line, message in (
        (3, "no text"),
        (4, "seed is not a whole number"),
        (5, "its id is that of line 2"),
        (6, "4 fields"),
    ):
        assert f"line {line}: " in said.replace("\n", " ")
        assert message in " ".join(said.split())
    assert set(files(tmp_path / "out")) == {"a.wav", "e.wav"}
    assert not (tmp_path / "e.wav").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "nothing to speak"),
        ("symbols.txt", b"***", "nothing to speak"),
        ("binary.txt", b"\xff\xfe\x00", "not UTF-8"),
        ("rows.jsonl", b'{"text": \n[1]\n', "not JSON"),
        ("book.epub", b"no zip", "not a zip archive"),
    ],
)
def test_a_file_without_anything_to_speak_is_exit_code_2(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert run(stack, tmp_path / name, "-o", tmp_path / "out") == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_dry_run_estimates_and_does_nothing(stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "book.md").write_text(BOOK)
    assert run(stack, tmp_path / "book.md", "-o", tmp_path / "out", "--dry-run") == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[2:] for line in said[1:4]] == [["The", "first", "one"], ["The", "second", "one"], ["Empty"]]
    assert re.match(r"4 items, \d+ utterances, about 0:00:\d\d of speech, \d MB", said[4])
    assert not (tmp_path / "out").exists()


def test_a_refusal_of_the_model_is_reported_and_the_rest_is_done(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": "good", "text": COFFEE}, {"id": "bad", "text": COFFEE, "voice": "nobody"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(stack, tmp_path / "rows.jsonl", "-o", tmp_path / "out") == 1
    assert "'nobody' is not a speaker" in " ".join(capsys.readouterr().err.split())
    assert set(files(tmp_path / "out")) == {"good.wav", "skipped.jsonl"}
    left_out = json.loads((tmp_path / "out/skipped.jsonl").read_text())
    assert (left_out["chapter"], left_out["text"]) == ("bad", COFFEE)
    assert "'nobody' is not a speaker" in left_out["reason"]
    assert (tmp_path / "out/.work/manifest.json").exists()


def test_a_triton_that_is_not_there_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("Hello.")
    away = ["--triton", "127.0.0.1:9", "--no-server", "--patience", "0"]
    with pytest.raises(SystemExit) as exit_:
        batch_synthesize.main([str(tmp_path / "a.txt"), "-o", str(tmp_path / "out"), *away])
    assert exit_.value.code == 2
    assert "Triton at 127.0.0.1:9" in capsys.readouterr().err


def test_a_model_that_can_never_be_loaded_is_not_waited_for(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("Hello.")
    how = ("--no-server", "--model", "qwen3_tts_base", "--patience", "9999")
    assert run(stack, tmp_path / "a.txt", "-o", tmp_path / "out", *how) == 2
    assert "BASE_MODEL_ID" in " ".join(capsys.readouterr().err.split())


def scripts(tmp_path: Path, gate: Gate | None, mark: str) -> Path:
    """Three items for the scripted engine, the longest first; `b` waits at the gate."""
    rows = []
    for number, name in enumerate("abc"):
        script = {"name": f"{mark}-{name}", "chunks": 3, "tone_hz": 200 + 100 * number, "pad": "x" * (40 - 10 * number)}
        if name == "b" and gate is not None:
            script |= {"gate": str(gate)}
        rows.append({"id": name, "text": json.dumps(script, separators=(",", ":"))})
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def start(stack: Stack, source: Path, output: Path) -> "subprocess.Popen[str]":
    how = ["--model", "scripted", "--concurrency", "1", *where(stack)]
    command = [sys.executable, "-m", "client.batch_synthesize", str(source), "-o", str(output), *how]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Its exit code and output."""
    with process:
        _, said = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, said


def begins(stack: Stack, name: str) -> int:
    return stack.script_log().count(f"{name} begins")


def test_an_interrupted_batch_goes_on_where_it_was_and_gives_the_same_bytes(
    stack: Stack, tmp_path: Path, gate: Gate
) -> None:
    source = scripts(tmp_path, gate, "i")
    interrupted = start(stack, source, tmp_path / "out")
    is_written = "a.wav"  # files are written during synthesis
    eventually(lambda: begins(stack, "i-b") and is_written in files(tmp_path / "out"), "the second one is being made")
    interrupted.send_signal(signal.SIGINT)
    status, said = finish(interrupted)
    assert status == 130
    assert "Interrupted" in said
    assert set(files(tmp_path / "out")) == {"a.wav"}  # which is whole
    gate.open()
    assert finish(start(stack, source, tmp_path / "out"))[0] == 0
    assert [begins(stack, f"i-{name}") for name in "abc"] == [1, 2, 1]
    assert finish(start(stack, source, tmp_path / "whole"))[0] == 0
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert set(files(tmp_path / "out")) == {"a.wav", "b.wav", "c.wav"}


@pytest.mark.parametrize("victim", ["triton", "model"])
def test_nothing_is_lost_when_triton_or_the_model_dies_in_the_middle(
    stack: Stack, tmp_path: Path, gate: Gate, victim: str
) -> None:
    source = scripts(tmp_path, gate, victim)
    running = start(stack, source, tmp_path / "out")
    eventually(lambda: begins(stack, f"{victim}-b"), "the second one is being made")
    if victim == "triton":
        os.kill(stack.triton.pid, signal.SIGKILL)
    else:
        stub = stub_of(stack, "scripted")
        stub.kill()
        eventually(lambda: has_ended(stub), "the process ends")
    gate.open()
    status, said = finish(running)
    assert status == 0, said
    assert begins(stack, f"{victim}-a") == 1
    assert set(files(tmp_path / "out")) == {"a.wav", "b.wav", "c.wav"}


def test_the_help_is_in_the_documentation(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        batch_synthesize.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert said in " ".join(DOCUMENT.read_text(encoding="utf-8").split())
