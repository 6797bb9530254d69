"""Runs of the batch client against a Triton that fails on demand: retries and their limits, reports, and resumed
runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from client import batch_synthesize
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import FinishReason
from tests.client.books import page, write_epub
from tests.support.fake_triton import FakeTriton

BOOK = "# One\n\nFirst words.\n\nSecond words.\n\n# Two\n\nThird words.\n"


@pytest.fixture
def triton() -> Iterator[FakeTriton]:
    with FakeTriton("fake", loaded=True, s_per_character=0.01) as triton:
        yield triton


def run(triton: FakeTriton, *arguments: str | Path) -> int:
    where = ["--triton", triton.address, "--no-server", "--model", "fake"]
    with pytest.raises(SystemExit) as exit_:
        batch_synthesize.main([*map(str, arguments), *where])
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def book(path: Path, text: str = BOOK) -> Path:
    (path / "book.md").write_text(text)
    return path / "book.md"


def skipped(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]


# Retries


def test_broken_streams_are_retried_at_a_limited_rate_for_no_longer_than_the_patience(
    triton: FakeTriton, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    triton.resets = True
    assert run(triton, book(tmp_path), "-o", tmp_path / "out", "--patience", "1", "--concurrency", "2") == 2
    assert "Triton does not answer (ServerDisconnectedError)" in " ".join(capsys.readouterr().err.split())
    assert len(triton.requests) <= 2 * 4


@pytest.mark.parametrize("code", [ErrorCode.QUEUE_FULL, ErrorCode.BUSY, ErrorCode.MODEL_UNAVAILABLE])
def test_a_failure_that_stays_ends_the_run_after_the_patience(
    triton: FakeTriton, tmp_path: Path, code: ErrorCode
) -> None:
    triton.behave = lambda tensors: SpeechError(code, "not now")
    assert run(triton, book(tmp_path), "-o", tmp_path / "out", "--patience", "1", "--concurrency", "1") == 2
    assert 2 <= len(triton.requests) <= 4


def test_an_utterance_that_always_crashes_the_model_does_not_block_the_others(
    triton: FakeTriton, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.batch.synthesis._POLL_S", 0.01)

    def behave(tensors: dict[str, Any]) -> SpeechError | None:
        poison = "Second" in tensors["TEXT"]
        return SpeechError(ErrorCode.MODEL_UNAVAILABLE, "it broke") if poison else None

    triton.behave = behave
    assert run(triton, book(tmp_path), "-o", tmp_path / "out", "--book", "--concurrency", "2") == 1
    assert triton.texts.count("Second words.") == 5
    assert skipped(tmp_path / "out") == [{"chapter": "One", "reason": "it broke", "text": "Second words."}]
    with av.open(str(tmp_path / "out/book.m4b")) as container:  # the book exists, without it
        assert len(container.chapters()) == 2


def test_an_utterance_that_ran_away_is_tried_with_other_seeds(triton: FakeTriton, tmp_path: Path) -> None:
    triton.behave = lambda tensors: FinishReason.REPETITION if len(triton.requests) < 3 else None
    assert run(triton, book(tmp_path, "Words."), "-o", tmp_path / "out") == 0
    seeds = [tensors["SEED"] for tensors in triton.requests]
    assert seeds == [seeds[0], seeds[0] + 1, seeds[0] + 2]


def test_an_utterance_that_is_not_complete_is_reported_in_the_next_run_too(triton: FakeTriton, tmp_path: Path) -> None:
    triton.behave = lambda tensors: FinishReason.LENGTH if "Second" in tensors["TEXT"] else None
    for _ in range(2):
        assert run(triton, book(tmp_path), "-o", tmp_path / "out", "--book") == 1
        [left_out] = skipped(tmp_path / "out")
        assert (left_out["reason"], left_out["text"]) == ("not complete (length)", "Second words.")
    assert len(triton.requests) == 5  # nothing was synthesized twice


# Going on


def test_a_run_that_goes_on_with_another_checkpoint_mixes_nothing(triton: FakeTriton, tmp_path: Path) -> None:
    def fails_at_the_end(tensors: dict[str, Any]) -> SpeechError | None:
        return SpeechError(ErrorCode.INVALID_REQUEST, "no") if "Third" in tensors["TEXT"] else None

    triton.behave = fails_at_the_end
    assert run(triton, book(tmp_path), "-o", tmp_path / "out", "--book") == 1
    manifest = json.loads((tmp_path / "out/.work/manifest.json").read_text())
    assert manifest["checkpoints"] == {"fake": "first"}
    triton.behave = lambda tensors: None
    triton.requests.clear()
    triton.checkpoint = "second"
    assert run(triton, book(tmp_path), "-o", tmp_path / "out", "--book") == 0
    assert sorted(triton.texts) == ["First words.", "One.", "Second words.", "Third words.", "Two."]


def test_a_run_that_goes_on_with_the_same_checkpoint_makes_what_is_missing(triton: FakeTriton, tmp_path: Path) -> None:
    triton.behave = lambda tensors: SpeechError(ErrorCode.INVALID_REQUEST, "no") if "Third" in tensors["TEXT"] else None
    assert run(triton, book(tmp_path), "-o", tmp_path / "out", "--book") == 1
    triton.behave = lambda tensors: None
    triton.requests.clear()
    assert run(triton, book(tmp_path), "-o", tmp_path / "out", "--book") == 0
    assert triton.texts == ["Third words."]


# Reports of a run


def test_a_book_whose_cover_and_contents_have_nothing_to_speak_is_whole(
    triton: FakeTriton, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = page("<nav epub:type='toc'><ol><li><a href='a.xhtml'>The first</a></li></ol></nav>")
    pages = {"cover.xhtml": page("<img src='c' alt='Cover'/>"), "n.xhtml": contents, "a.xhtml": page("<p>Text.</p>")}
    items = ['<item id="nav" href="n.xhtml" media-type="application/xhtml+xml" properties="nav"/>']
    path = write_epub(tmp_path / "b.epub", pages, items=items)
    assert run(triton, path, "-o", tmp_path / "out", "--book") == 0
    assert {(row["reason"], row["text"]) for row in skipped(tmp_path / "out")} == {
        ("description of a picture", "Cover"),
        ("table of contents", "The first"),
    }
    assert "Skipped: 1 × description of a picture, 1 × table of contents" in capsys.readouterr().err
    with av.open(str(tmp_path / "out/b.m4b")) as container:
        assert [each["metadata"]["title"] for each in container.chapters()] == ["The first"]


def test_a_page_that_is_missing_is_exit_code_1_and_the_rest_is_spoken(
    triton: FakeTriton, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spine = '<spine><itemref idref="a.xhtml"/><itemref idref="gone"/></spine>'
    path = write_epub(tmp_path / "b.epub", {"a.xhtml": page("<p>Text.</p>")}, spine=spine)
    assert run(triton, path, "-o", tmp_path / "out", "--book") == 1
    assert "the page 'gone': the manifest has no such file; skipped" in capsys.readouterr().err
    assert (tmp_path / "out/b.m4b").exists()


def test_a_dry_run_lists_chapters_and_what_would_be_skipped(
    triton: FakeTriton, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "# One\n\nWords 😀 here[^1].\n\n```\ncode\n```\n\n# Two\n\n***\n\n• • •\n\nMore.\n\n[^1]: A note."
    assert run(triton, book(tmp_path, text), "--dry-run") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("One; skipped: 1 × emoji, 1 × note reference, 1 × code")
    assert said[1].endswith("Two; skipped: 1 × nothing to pronounce, 1 × note")
    assert said[-1] == ("skipped: 1 × emoji, 1 × note reference, 1 × code, 1 × nothing to pronounce, 1 × note")
    assert triton.requests == []


def test_each_finished_chapter_is_reported_with_the_remaining_time(
    triton: FakeTriton, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(triton, book(tmp_path), "-o", tmp_path / "out", "--book", "--concurrency", "1") == 0
    said = [line for line in capsys.readouterr().err.splitlines() if ": done" in line]
    assert said[0].startswith("1 of 2, One: done; ")
    assert said[0].endswith(" left")
    assert said[1].startswith("2 of 2, Two: done; 100% in total")


def test_words_of_the_dictionary_are_respelt_for_the_model_and_captions_keep_them(
    triton: FakeTriton, tmp_path: Path
) -> None:
    (tmp_path / "words.toml").write_text('"words" = "wurdz"\n[german]\n"First" = "Först"\n')
    source = book(tmp_path)
    how = ("--dictionary", tmp_path / "words.toml", "--language", "english", "--captions", "vtt")
    assert run(triton, source, "-o", tmp_path / "out", "--book", *how) == 0
    assert "First wurdz." in triton.texts
    assert "First words." in (tmp_path / "out/book.vtt").read_text()
    how = ("--dictionary", tmp_path / "words.toml", "--language", "german")
    assert run(triton, source, "-o", tmp_path / "out", "--book", *how) == 0
    assert "Först wurdz." in triton.texts


def test_a_folder_that_cannot_be_written_is_one_clear_line(
    triton: FakeTriton, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("a file")
    assert run(triton, book(tmp_path), "-o", tmp_path / "out") == 2
    assert "can't be written" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["client.batch.store.write_whole", "client.batch.assembly.Recorder.add"])
def test_a_disk_that_is_full_in_the_middle_is_one_clear_line_and_what_is_done_is_kept(
    triton: FakeTriton, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    def fail(*arguments: object) -> None:
        if triton.requests:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(where, fail)
        assert run(triton, book(tmp_path), "-o", tmp_path / "out", "--book") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".work"]
    assert run(triton, book(tmp_path), "-o", tmp_path / "out", "--book") == 0


def test_rows_with_instructions_of_their_own_are_made_with_them(triton: FakeTriton, tmp_path: Path) -> None:
    rows = [{"text": "Same.", "instruct": each} for each in ("calmly", "loudly")]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert run(triton, tmp_path / "rows.jsonl", "-o", tmp_path / "out") == 0
    assert sorted(tensors["INSTRUCT"] for tensors in triton.requests) == ["calmly", "loudly"]


def test_characters_that_are_not_seen_do_not_reach_the_model(triton: FakeTriton, tmp_path: Path) -> None:
    assert run(triton, book(tmp_path, "Do\u00adnau\u00addampf\u200b and Zu\u0308rich"), "-o", tmp_path / "out") == 0
    assert triton.texts == ["Donaudampf and Zürich"]


@pytest.mark.parametrize("option", ["--casting", "--dictionary"])
@pytest.mark.parametrize(("content", "why"), [("x = [", "is not TOML"), ("[dialogue]\nvoices = 3", "dialogue")])
def test_a_rule_file_that_is_wrong_is_one_clear_line(
    triton: FakeTriton, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, content: str, why: str
) -> None:
    (tmp_path / "rules.toml").write_text(content)
    assert run(triton, book(tmp_path), "--dry-run", option, tmp_path / "rules.toml") == 2
    assert why in capsys.readouterr().err
