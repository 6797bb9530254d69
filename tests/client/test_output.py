"""Files of the batch client: chapters for every player, captions that parsers read back, small memory."""

import io
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import webvtt
from PIL import Image

from client.batch.captions import CaptionWriter
from client.batch.encoding import Tags, open_audio
from client.batch.mp4 import Mark, read_chpl, thinned
from client.batch.recording import dress, silence
from client.batch.words import TimedText
from speech_protocol.audio import SAMPLE_RATE_HZ
from tests.support.listening import decode


def tone(seconds: float) -> np.ndarray:
    time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (8_000 * np.sin(2 * np.pi * 440 * time_s)).astype(np.int16)


def chapters(count: int, length_s: float) -> list[Mark]:
    step = length_s / count
    return [Mark(f"Kapitel {n} „ä“ 日本", n * step, (n + 1) * step) for n in range(count)]


def write(path: Path, file_format: str, marks: list[Mark], tags: Tags, seconds: float = 12.0) -> Path:
    writer = open_audio(path, file_format, tags, chapters=True)
    for _ in range(3):
        writer.write(tone(seconds / 3))
    writer.finish(marks)
    return path


def read_chapters(path: Path) -> list[tuple[str, float, float]]:
    with av.open(str(path)) as container:
        return [
            (
                each["metadata"]["title"],
                float(each["start"] * each["time_base"]),
                float(each["end"] * each["time_base"]),
            )
            for each in container.chapters()
        ]


@pytest.mark.parametrize("count", [1, 3, 255, 256, 300, 1_000])
def test_a_book_of_any_number_of_chapters_has_them_in_both_lists(tmp_path: Path, count: int) -> None:
    marks = chapters(count, 12)
    path = write(tmp_path / "book.m4b", "m4b", marks, Tags({"title": "x"}))
    # The QuickTime track has all of them.
    found = read_chapters(path)
    assert [title for title, _, _ in found] == [mark.title for mark in marks]
    assert [begin for _, begin, _ in found] == pytest.approx([mark.begin_s for mark in marks], abs=0.002)
    # Nero's list has as many as it can count, from the first one to the end of the book.
    nero = read_chpl(path)
    assert len(nero) == min(count, 255)
    assert [title for title, _ in nero] == [mark.title for mark in thinned(marks)]
    assert nero[-1][1] >= 12 * (1 - 1 / 100) or count < 200


def test_a_book_can_be_played_before_it_is_read_and_its_samples_are_where_they_were(tmp_path: Path) -> None:
    path = write(tmp_path / "book.m4b", "m4b", chapters(300, 12), Tags())
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    samples = decode(data, "aac")
    assert len(samples) == pytest.approx(12 * SAMPLE_RATE_HZ, abs=SAMPLE_RATE_HZ // 10)
    expected = tone(12) / 32768
    middle = slice(5 * SAMPLE_RATE_HZ, 6 * SAMPLE_RATE_HZ)
    assert np.abs(samples[middle] - expected[middle]).max() < 0.05  # the same phase: nothing was moved


def test_an_mp3_book_has_its_chapters(tmp_path: Path) -> None:
    marks = chapters(12, 12)
    path = write(tmp_path / "book.mp3", "mp3", marks, Tags({"title": "x"}))
    assert [title for title, _, _ in read_chapters(path)] == [mark.title for mark in marks]
    assert len(decode(path.read_bytes(), "mp3")) == pytest.approx(12 * SAMPLE_RATE_HZ, abs=SAMPLE_RATE_HZ // 10)


@pytest.mark.parametrize("file_format", ["m4b", "mp3"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_tags_cover_and_language_are_those_of_the_book(tmp_path: Path, file_format: str, kind: str) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (60, 80), (200, 0, 0)).save(picture, kind)
    fields = {"title": "On tea", "artist": "A. Nobody", "album": "On tea", "genre": "Audiobook"}
    tags = Tags(fields, (picture.getvalue(), f"image/{kind.lower()}"), "deu")
    path = write(tmp_path / f"book.{file_format}", file_format, chapters(2, 12), tags)
    with av.open(str(path)) as container:
        assert fields.items() <= container.metadata.items()
        [cover] = [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]
        if file_format == "m4b":
            assert container.streams.audio[0].language == "deu"
    assert cover == picture.getvalue()


def test_a_cover_that_is_no_picture_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "book.m4b", "m4b", chapters(2, 12), Tags({}, (b"nothing", "image/png")))
    with av.open(str(path)) as container:
        assert not container.streams.video


@pytest.mark.parametrize("file_format", ["m4b", "mp3"])
def test_the_same_audio_gives_the_same_bytes_and_leaves_nothing_beside(tmp_path: Path, file_format: str) -> None:
    marks = chapters(3, 12)
    first = write(tmp_path / f"a.{file_format}", file_format, marks, Tags({"title": "x"})).read_bytes()
    assert write(tmp_path / f"b.{file_format}", file_format, marks, Tags({"title": "x"})).read_bytes() == first
    assert {path.name for path in tmp_path.iterdir()} == {f"a.{file_format}", f"b.{file_format}"}


@pytest.mark.parametrize("file_format", ["wav", "flac", "mp3", "opus", "m4b"])
def test_a_file_that_is_given_up_leaves_nothing_behind(tmp_path: Path, file_format: str) -> None:
    writer = open_audio(tmp_path / f"a.{file_format}", file_format, Tags(), chapters=file_format == "m4b")
    writer.write(tone(1))
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_captions_are_read_back_by_a_parser_as_they_were(tmp_path: Path) -> None:
    texts = [
        "a < b & c",
        "<i>not</i> markup",
        "x --> y",
        "00:00:01.000 --> 00:00:02.000",
        "NOTE this",
        "two\nlines",
        "&amp;",
    ]
    writer = CaptionWriter(tmp_path / "a.vtt", "vtt")
    for number, text in enumerate(texts):
        writer.write(TimedText(text, 3_600.5 * number, 3_600.5 * number + 1))
    writer.finish()
    found = webvtt.read(str(tmp_path / "a.vtt"))
    escaped = [
        text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ") for text in texts
    ]
    assert [caption.raw_text for caption in found] == escaped
    assert found[2].start == "02:00:01.000"


MEASURE = """
import resource, sys
import numpy as np
from pathlib import Path
from client.batch.encoding import Tags, open_audio
from client.batch.mp4 import Mark
minutes = int(sys.argv[2])
writer = open_audio(Path(sys.argv[1]), "m4b", Tags(), chapters=True)
noise = np.random.default_rng(0).integers(-9000, 9000, 24_000 * 6).astype(np.int16)
for _ in range(minutes * 10):
    writer.write(noise)
writer.finish([Mark("x", 0, minutes * 60)])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_length_of_a_book(tmp_path: Path) -> None:
    def peak_kb(minutes: int) -> int:
        command = [sys.executable, "-c", MEASURE, str(tmp_path / "a.m4b"), str(minutes)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=280).stdout)

    # Twelve minutes are 35 MB of PCM; of their index there is 1 MB.
    assert peak_kb(13) - peak_kb(1) < 15_000


def test_an_utterance_is_trimmed_levelled_and_faded() -> None:
    pcm = np.concatenate((silence(0.5), tone(1), silence(0.7)))
    dressed, trimmed = dress(pcm.astype("<i2").tobytes())
    assert trimmed / SAMPLE_RATE_HZ == pytest.approx(0.47, abs=0.01)
    assert len(dressed) / SAMPLE_RATE_HZ == pytest.approx(1.06, abs=0.02)
    assert abs(int(dressed[0])) < 10
    assert abs(int(dressed[-1])) < 10
    rms = float(np.sqrt(np.mean(np.square(dressed / 32768))))
    assert 20 * np.log10(rms) == pytest.approx(-20, abs=0.5)


@pytest.mark.parametrize("pcm", [b"", bytes(4_800), bytes(2)])
def test_a_silent_utterance_is_a_moment_of_silence(pcm: bytes) -> None:
    assert not dress(pcm)[0].any()
