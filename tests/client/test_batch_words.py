"""`tts-batch --words`: word times in JSON, and subtitles of a readable size, compared with the audio."""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import webvtt

from client import batch_synthesize
from speech_protocol.audio import SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from tests.client.test_batch import run as run_on
from tests.support.fake_models import even_words
from tests.support.fake_triton import FakeTriton
from tests.support.listening import align, decode
from tests.support.stack import Stack

LONG = (
    "When Dr. Keeper came back from the harbour, late in the evening, he found that somebody had lit the lamp, closed "
    "the shutters and carried all the wood into the kitchen. Was it her? The girl from the mill, as ever, sat at the "
    "window since the storm, and knew where the key was; the others were at sea."
)
BOOK = f"# One\n\nFirst words here. [pause:2s] Second words here.\n\n{LONG}\n\n# Two\n\nThird words at the end.\n"
MARGIN_S = 0.2  # of audio around a sentence, for the recogniser
TAG = re.compile(r"<(\d\d):(\d\d):(\d\d\.\d{3})>")


class Cue(NamedTuple):
    begin_s: float
    end_s: float
    text: str  # with its lines, and in WebVTT its tags


@pytest.fixture
def triton() -> Iterator[FakeTriton]:
    with FakeTriton("hibari", loaded=True, s_per_character=0.06) as triton:
        yield triton


def run(triton: FakeTriton, source: Path, output: Path, *options: str) -> int:
    where = ["--triton", triton.address, "--no-server", "--model", "hibari", "--format", "wav"]
    with pytest.raises(SystemExit) as exit_:
        batch_synthesize.main([str(source), "-o", str(output), *where, *options])
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def book(folder: Path, text: str = BOOK, name: str = "book.md") -> Path:
    (folder / name).write_text(text)
    return folder / name


def words_in(file: Path) -> list[dict[str, Any]]:
    content = json.loads(file.read_text())
    assert list(content) == ["words"]
    assert {tuple(each) for each in content["words"]} == {("word", "start", "end")}
    return list(content["words"])


def cues_in(file: Path) -> list[Cue]:
    captions = webvtt.from_srt(str(file)) if file.suffix == ".srt" else webvtt.read(str(file))
    return [Cue(_seconds(each.start), _seconds(each.end), each.raw_text) for each in captions]


def _seconds(clock: str) -> float:
    hours, minutes, seconds = clock.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def starts(words: Sequence[dict[str, Any]]) -> list[float]:
    return [word["start"] for word in words]


@pytest.mark.parametrize("is_book", [True, False], ids=["book", "chapters"])
def test_times_hold_after_trimmed_silence_pauses_and_chapters(
    triton: FakeTriton, tmp_path: Path, is_book: bool
) -> None:
    triton.silent_chunks = 5  # 0.4 s, of which 0.03 s are kept
    how = ("--book", "--format", "mp3") if is_book else ()
    assert run(triton, book(tmp_path), tmp_path / "whole", *how, "--captions", "srt") == 0
    assert run(triton, book(tmp_path), tmp_path / "words", *how, "--words") == 0
    files = sorted((tmp_path / "whole").glob("*.srt"))
    assert len(files) == (1 if is_book else 2)
    for file in files:
        expected = [
            (word.text, cue.begin_s + 0.03 + word.start / SAMPLE_RATE_HZ)
            for cue in cues_in(file)
            for word in even_words(cue.text, round((cue.end_s - cue.begin_s - 0.03) * SAMPLE_RATE_HZ))
        ]
        found = words_in(tmp_path / f"words/{file.stem}.words.json")
        assert [word["word"] for word in found] == [text for text, _ in expected]
        assert starts(found) == pytest.approx([start_s for _, start_s in expected], abs=0.011)


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_cues_are_two_short_lines_for_seven_seconds_and_begin_and_end_with_their_words(
    triton: FakeTriton, tmp_path: Path, kind: str
) -> None:
    text = f"{LONG}\n\nShort.\n\nA {'very' * 12} long word <i>& others</i> --> here 日本 — and {'x ' * 60}end."
    assert run(triton, book(tmp_path, text, "book.txt"), tmp_path, "--words", "--captions", kind) == 0
    words = words_in(tmp_path / "book-001.words.json")
    assert " ".join(word["word"] for word in words).split() == text.split()
    rest = iter(words)
    plain = []
    for cue in cues_in(tmp_path / f"book-001.{kind}"):
        lines = [TAG.sub("", line) for line in cue.text.split("\n")]
        if kind == "vtt":
            lines = [line.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for line in lines]
        assert len(lines) <= 2
        assert all(len(line) <= 42 for line in lines) or lines == ["very" * 12]
        assert 0 < cue.end_s - cue.begin_s <= 7.001
        taken = [next(rest)]
        while sum(len(each["word"].split()) for each in taken) < len(" ".join(lines).split()):
            taken.append(next(rest))
        assert (cue.begin_s, cue.end_s) == pytest.approx((taken[0]["start"], taken[-1]["end"]), abs=0.0011)
        if kind == "vtt":
            tags = [_seconds(":".join(tag)) for tag in TAG.findall(cue.text)]
            assert tags == pytest.approx(starts(taken[1:]), abs=0.0011)
        plain += lines
    assert next(rest, None) is None
    assert " ".join(plain).split() == text.replace("-->", "->" if kind == "srt" else "-->").split()
    assert any(line.endswith("Was it her?") for line in plain)  # cues end with sentences if possible
    assert not any(line.endswith("Dr.") for line in plain)


def test_captions_without_words_are_one_cue_for_each_utterance(triton: FakeTriton, tmp_path: Path) -> None:
    assert run(triton, book(tmp_path, LONG), tmp_path, "--captions", "vtt") == 0
    cues = cues_in(tmp_path / "book-001.vtt")
    assert {cue.text for cue in cues} == {*triton.texts}
    assert not (tmp_path / "book-001.words.json").exists()


def test_words_of_the_text_are_timed_as_what_is_spoken_for_them(triton: FakeTriton, tmp_path: Path) -> None:
    (tmp_path / "terms.toml").write_text('"nginx" = "engine x"\n"US" = "U S"\n"New York" = "Noo-York"\n')
    text = "The US nginx in New York runs."
    spoken = "The U S engine x in Noo-York runs."
    assert run(triton, book(tmp_path, text), tmp_path, "--words", "--dictionary", str(tmp_path / "terms.toml")) == 0
    assert triton.texts == [spoken]
    found = words_in(tmp_path / "book-001.words.json")
    of = {each.text: each.start for each in even_words(spoken, round(found[-1]["end"] * SAMPLE_RATE_HZ))}
    expected = {"The": "The", "US": "U", "nginx": "engine", "in": "in", "New": "Noo-York", "York": "Noo-York"}
    assert [word["word"] for word in found] == [*expected, "runs."]
    assert starts(found)[:6] == pytest.approx([of[key] / SAMPLE_RATE_HZ for key in expected.values()], abs=0.011)


def test_a_resumed_run_keeps_word_times_and_synthesizes_an_utterance_without_them_again(
    triton: FakeTriton, tmp_path: Path
) -> None:
    triton.behave = lambda tensors: SpeechError(ErrorCode.INVALID_REQUEST, "no") if "Third" in tensors["TEXT"] else None
    options = ("--book", "--format", "mp3", "--keep-work")
    assert run(triton, book(tmp_path), tmp_path / "out", *options) == 1
    assert run(triton, book(tmp_path), tmp_path / "out", *options, "--words") == 1
    triton.behave = lambda tensors: None
    triton.requests.clear()
    assert run(triton, book(tmp_path), tmp_path / "out", *options, "--words") == 0
    assert triton.texts == ["Third words at the end."]
    resumed = (tmp_path / "out/book.words.json").read_bytes()
    [lost] = [file for file in (tmp_path / "out/.work").glob("*.words.json") if "Second" in file.read_text()]
    lost.unlink()
    triton.requests.clear()
    assert run(triton, book(tmp_path), tmp_path / "out", *options, "--words") == 0
    assert triton.texts == ["Second words here."]
    assert (tmp_path / "out/book.words.json").read_bytes() == resumed
    assert run(triton, book(tmp_path), tmp_path / "whole", "--book", "--format", "mp3", "--words") == 0
    assert (tmp_path / "whole/book.words.json").read_bytes() == resumed


def test_each_row_of_a_dataset_has_its_words_beside_its_audio(triton: FakeTriton, tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "First words."}, {"id": "b", "text": '{"chunks": 3}'}, {"id": "c", "text": "Others."}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    # The model sends no word times for the second row.
    assert run(triton, tmp_path / "rows.jsonl", tmp_path / "out", "--words") == 1
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        *(".work", "skipped.jsonl", "a.wav", "a.words.json", "c.wav", "c.words.json")
    }
    assert "no word times" in json.loads((tmp_path / "out/skipped.jsonl").read_text())["reason"]
    assert [word["word"] for word in words_in(tmp_path / "out/a.words.json")] == ["First", "words."]


def test_a_model_without_word_times_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeTriton("fake", loaded=True, s_per_character=0.01) as triton:
        assert run(triton, book(tmp_path), tmp_path / "out", "--words", "--model", "fake") == 2
        assert triton.requests == []
    said = " ".join(capsys.readouterr().err.split())
    assert "--words: 'fake' has no word times. Use voices of 'hibari', or omit --words." in said


SENTENCES = (
    "The children are playing in the garden.",
    "She bought seven red apples at the market.",
    "Winter was late, and the river stayed open.",
    "He wrote a long letter to his mother yesterday.",
    "Nothing is as warm as a kitchen in the morning.",
    "The old man sat by the window and read a book.",
    "They walked along the beach until it was dark.",
    "My brother works in a small town near the sea.",
    "We had dinner with our friends last night.",
    "The train left the station ten minutes ago.",
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("words"), default_model="hibari", idle_timeout=0) as running:
        yield running


@pytest.mark.parametrize("file_format", ["wav", "m4b"])
def test_words_of_a_book_are_where_a_recogniser_hears_them(stack: Stack, tmp_path: Path, file_format: str) -> None:
    chapters = (f"# {'I' * number}\n\n{' [pause:1s] '.join(SENTENCES[number::2])}\n\n" for number in (1, 2))
    source = book(tmp_path, f"{SENTENCES[0]}\n\n" + "".join(chapters))
    how = ("--book",) if file_format == "m4b" else ()
    options = ("--words", "--captions", "vtt", "--voice", "alloy", "--format", file_format, *how)
    assert run_on(stack, source, "-o", tmp_path, *options) == 0
    errors_s = []
    for file in tmp_path.glob("*.words.json"):
        name = file.name.removesuffix(".words.json")
        samples = decode((tmp_path / f"{name}.{file_format}").read_bytes(), "aac" if file_format == "m4b" else "wav")
        words = words_in(file)
        for said in _sentences(words):
            begin_s = max(0.0, said[0]["start"] - MARGIN_S)
            part = samples[round(begin_s * SAMPLE_RATE_HZ) : round((said[-1]["end"] + MARGIN_S) * SAMPLE_RATE_HZ)]
            heard = align(part, " ".join(word["word"] for word in said))
            assert len(heard) == len(said)
            errors_s += [
                abs(word["start"] - begin_s - start_s) for word, (_, start_s, _) in zip(said, heard, strict=True)
            ]
    assert len(errors_s) > 80
    assert np.mean(errors_s) <= 0.1, errors_s


def test_words_are_those_of_the_text_however_they_are_read(stack: Stack, tmp_path: Path) -> None:
    text = "— He ran 5 km/h on 3 May 2021, Dr. Smith said; 'x = 1' costs $2.50 – at 10:30 a.m. 日本 today."
    assert run_on(stack, book(tmp_path, text, "book.txt"), "-o", tmp_path, "--words") == 1  # letters were skipped
    words = words_in(tmp_path / "book-001.words.json")
    assert " ".join(word["word"] for word in words) == text
    spoken = [word for word in words if word["start"] < word["end"]]
    assert [word["word"] for word in words if word not in spoken] == ["日本"]
    assert all(one["end"] == other["start"] for one, other in pairwise(spoken))


def _sentences(words: Sequence[dict[str, Any]]) -> Iterator[Sequence[dict[str, Any]]]:
    """The words of each sentence of more than one word."""
    begin = 0
    for number, word in enumerate(words, 1):
        if word["word"].endswith("."):
            if number - begin > 1:
                yield words[begin:number]
            begin = number
