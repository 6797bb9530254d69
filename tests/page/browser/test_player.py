"""The player: played during synthesis, paused, seeked, stopped, downloaded."""

import json
import shutil
import uuid
import wave
from pathlib import Path

import av
import pytest
from selenium.webdriver import ActionChains

from openai_frontend.synthesis.script import write_script
from tests.support.fake_triton import FakeTriton
from tests.support.page import CONTROL, ENTER, Page
from tests.support.stack import Frontend
from tests.support.waiting import eventually

SENTENCE = "There is nothing better than a good cup of coffee."
LONG = "\n\n".join(f"Paragraph {number} begins here. " + "It goes on for a while. " * 9 for number in range(1, 4))


@pytest.fixture
def gate() -> str:
    return uuid.uuid4().hex


def script(**fields: object) -> str:
    return json.dumps(fields)


def position(page: Page) -> float:
    """The position as drawn: the share of the waveform in the colour of the played part, 0 to 1."""
    return float(
        page.run("""
            const canvas = document.getElementById("wave");
            const [red, green, blue] = getComputedStyle(canvas).color.match(/\\d+/g).map(Number);
            const { data } = canvas.getContext("2d").getImageData(0, canvas.height / 2, canvas.width, 1);
            let last = 0;
            for (let x = 0; x < canvas.width; x++)
                if (data[4 * x] === red && data[4 * x + 1] === green && data[4 * x + 2] === blue) last = x + 1;
            return last / canvas.width;
        """)
    )


def test_speech_is_heard_while_it_is_still_made(page: Page, triton: FakeTriton, gate: str) -> None:
    page.write("text", script(chunks=30, hold=gate))
    page.type("text", CONTROL, ENTER)
    page.comes_to("speaking")
    page.waits_for(lambda: position(page) > 0, "the first chunk is heard")
    assert "First audio after" in page["figures"].text
    assert page["speak"].text == "Stop"
    triton.release(gate)
    page.comes_to("playing", "idle")
    assert page.seconds()[1] == 2
    page.comes_to("idle")
    assert page["status"].text == "Done."


def test_a_cold_start_says_that_the_model_is_loaded_and_for_how_long(
    page: Page, triton: FakeTriton, gate: str, tmp_path: Path
) -> None:
    triton.states["hibari"] = "UNAVAILABLE"
    triton.hold_loads = gate
    settings = {"default_model": "hibari", "idle_timeout": 3000, "voices_folder": str(tmp_path)}
    with Frontend(triton_url=triton.url, **settings) as frontend:
        page = Page(page.browser, frontend.url)
        page.open()
        page.click("models-open")
        page.shows("models-list", "Not loaded; loads when you speak")
        page.click("speak")
        page.shows("status", "Loading the model")
        page.waits_for(lambda: page["clock"].text not in {"", ", 0 s"}, "the seconds are counted")
        page.click("models-open")
        page.shows("models-list", "Loading, ")
        triton.release(gate)
        page.shows("models-list", "Ready; unloads in ")
        page.comes_to("playing", "idle")


def test_pause_stops_the_sound_and_play_goes_on_from_there(page: Page, triton: FakeTriton) -> None:
    triton.chunks = 250
    page.speak(SENTENCE)
    page.waits_for(lambda: page.seconds()[0] >= 1, "a second is heard")
    page.click("play")
    page.comes_to("idle")
    assert page["play"].get_attribute("aria-label") == "Play"
    assert page["status"].text == "Paused."
    paused = position(page)
    page.click("play")
    page.waits_for(lambda: position(page) > paused, "it goes on")


def test_a_click_on_the_wave_and_the_arrow_keys_go_to_a_place(page: Page, triton: FakeTriton) -> None:
    triton.chunks = 500  # 40 s
    page.speak(SENTENCE)
    page.click("play")
    timeline = page["timeline"]
    quarter = timeline.size["width"] // 4
    ActionChains(page.browser).move_to_element_with_offset(timeline, -quarter, 0).click().perform()
    page.waits_for(lambda: page.seconds()[0] in {9, 10}, "a quarter of the way")
    page.type("timeline", "\ue014")  # arrow right
    page.waits_for(lambda: page.seconds()[0] in {14, 15}, "five seconds on")
    page.type("timeline", "\ue011")  # Home
    page.waits_for(lambda: page.seconds()[0] == 0, "the start")
    assert timeline.get_attribute("aria-valuetext") == "0 seconds of 40 seconds"
    assert timeline.get_attribute("role") == "slider"


def test_stop_ends_the_request_and_keeps_what_was_made(
    page: Page, triton: FakeTriton, gate: str, downloads: Path
) -> None:
    page.write("text", script(chunks=None, hold=gate))
    page.click("speak")
    page.comes_to("speaking")
    page.click("speak")
    page.comes_to("idle")
    page.shows("status", "kept")
    triton.release(gate)
    page.waits_for(lambda: triton.active == 0, "the request is cancelled")
    page.waits_for(lambda: "(stopped)" in page["recent"].text, "it is among the recent ones")
    page.click("play")
    page.waits_for(lambda: position(page) > 0, "it is heard again")
    with wave.open(str(download(page, downloads, "wav"))) as file:
        assert file.getnframes() == 1920


def test_one_sound_at_a_time(page: Page, triton: FakeTriton) -> None:
    triton.chunks = 500
    page.speak(SENTENCE)
    triton.chunks = 250
    page.choose_voice("Serena")
    page.click_on(page.css("[aria-label='Play a sample of Serena']"))
    page.waits_for(lambda: triton.requests[-1]["SPEAKER"] == "serena", "the sample is made")
    page.waits_for(lambda: page.seconds()[1] == 20, "the player holds the sample, and nothing else")
    page.comes_to("playing")
    page.click_on(page.css("[aria-label='Play a sample of Serena']"))
    page.comes_to("idle")
    before = len(triton.requests)
    page.click_on(page.css("[aria-label='Play a sample of Serena']"))
    page.comes_to("playing")
    assert len(triton.requests) == before, "a sample is made once"


def download(page: Page, folder: Path, file_format: str) -> Path:
    """The file that the menu saves."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    page.click("download")
    page.click_on(page.css(f"#formats [data-format={file_format}]"))
    eventually(lambda: list(folder.glob(f"*.{file_format}")), f"the {file_format} file is saved")
    (path,) = folder.glob(f"*.{file_format}")
    return path


def test_speech_is_saved_in_all_seven_formats_under_a_sensible_name(
    page: Page, triton: FakeTriton, downloads: Path
) -> None:
    page.speak(SENTENCE)
    (spoken,) = triton.requests
    for file_format in ("mp3", "wav", "flac", "aac", "opus", "ogg", "pcm"):
        path = download(page, downloads, file_format)
        assert path.stem == "vivian-there-is-nothing-better-than-a-good-cup"
        if file_format == "pcm":
            assert path.stat().st_size == 2 * 2 * 24_000
            continue
        with av.open(str(path)) as file:
            seconds = sum(frame.samples / frame.sample_rate for frame in file.decode(audio=0))
        assert seconds == pytest.approx(2, abs=0.15), file_format
    # WAV and PCM are there already; the others are the same request once more.
    assert len(triton.requests) == 6
    assert all((again["TEXT"], again["SEED"]) == (spoken["TEXT"], spoken["SEED"]) for again in triton.requests)


def test_the_segment_that_is_heard_is_marked_in_the_text(page: Page) -> None:
    page.write("text", LONG)
    page.click("speak")
    segments = [part for part in write_script(LONG) if isinstance(part, str)]
    page.shows("status", f"Part 2 of {len(segments)}")
    mark = page.css("#mirror mark")
    assert page.run("return arguments[0].textContent", mark) in segments
    top, text_top = (page.run("return arguments[0].getBoundingClientRect().top", it) for it in (mark, page["text"]))
    assert text_top <= top <= text_top + page["text"].size["height"], "it is scrolled into view"
    page.write("text", "Something else.")
    page.waits_for(lambda: not page.all("#mirror mark"), "another text has no mark")


def test_the_mirror_breaks_its_lines_where_the_text_does(page: Page) -> None:
    for width in (1280, 320):
        page.emulate(width)
        page.write("text", LONG)
        page.click("speak")
        page.waits_for(lambda: page.all("#mirror mark"), "a segment is marked")
        heights = page.run("return ['text', 'mirror'].map((id) => document.getElementById(id).scrollHeight)")
        assert abs(heights[0] - heights[1]) <= 2
        page.click("speak")


def test_words_are_marked_where_a_server_sends_their_times(page: Page) -> None:
    marked = page.browser.execute_async_script("""
        const done = arguments[arguments.length - 1];
        const modules = ["composer", "script"].map((name) => import(`/static/js/${name}.js`));
        Promise.all(modules).then(([{ Composer }, { Script }]) => {
            const composer = new Composer();
            composer.text = "The cat sat.";
            const script = new Script(composer.text);
            script.add([{ id: 0, count: 1, start: 0, text: "The cat sat." }], [{ word: "cat", start: 0, end: 1 }]);
            const { range, word } = script.at(0.5);
            composer.mark(composer.text, range, word);
            done(document.querySelector("#mirror mark b").textContent);
        });
    """)
    assert marked == "cat"
