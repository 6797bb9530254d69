"""Voices on the page: searched, played, cloned, described, renamed, deleted and blended."""

import uuid
import wave
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.support.fake_models import tone
from tests.support.fake_triton import FakeTriton
from tests.support.page import ESCAPE, Page
from tests.support.replies import wav
from tests.support.stack import Frontend

DESIGN = "qwen3_tts_voice_design"


@pytest.fixture
def name() -> str:
    return f"Anna {uuid.uuid4().hex[:6]}"


@pytest.fixture(autouse=True)
def no_voices(frontend: Frontend) -> Iterator[None]:
    """A server without stored voices, before and after."""
    yield
    for voice in httpx2.get(f"{frontend.url}/v1/audio/voices").json()["voices"]:
        if voice["id"].startswith("voice_"):
            httpx2.delete(f"{frontend.url}/v1/audio/voices/{voice['id']}")


def stored(frontend: Frontend) -> list[dict[str, str]]:
    voices = httpx2.get(f"{frontend.url}/v1/audio/voices").json()["voices"]
    return [voice for voice in voices if voice["id"].startswith("voice_")]


def make_voice(frontend: Frontend, name: str) -> str:
    body = {"type": "prompt", "name": name, "prompt": "An old man, hoarse and kind.", "language": "english"}
    reply = httpx2.post(f"{frontend.url}/v1/audio/voices", json=body)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["id"])


def test_voices_are_cards_that_a_search_and_a_filter_narrow(page: Page, frontend: Frontend, name: str) -> None:
    make_voice(frontend, name)
    page.reload()
    assert {"Vivian", "Uncle Fu", name} <= set(page.voices())
    card = page.voice("Uncle Fu")
    assert "Built in · male · Chinese" in card.text
    page.write("search", "korean female")
    page.waits_for(lambda: set(page.voices()) <= {"Sohee", "Sage", "Marin"} and page.voices(), "one is left")
    page.write("search", "no such voice")
    page.shows("voices-note", "No voice matches")
    page.write("search", "")
    page.click_on(page.css("input[value=own]"))
    assert page.voices() == [name]
    assert "Designed" in page.voice(name).text


def test_the_chosen_voice_speaks(page: Page, triton: FakeTriton) -> None:
    page.choose_voice("Ryan")
    page.click_on(page.css("[data-style*='news reader']"))
    page.speak("Hello.")
    (request,) = triton.requests
    assert (request["SPEAKER"], request["INSTRUCT"]) == ("ryan", "Clear and neutral, like a news reader.")


def test_a_new_user_clones_a_voice_by_microphone_plays_a_paragraph_in_it_and_copies_the_python(
    page: Page, frontend: Frontend, triton: FakeTriton, name: str
) -> None:
    page.click("clone-open")
    sentence = page["clone-sentence"].text
    page.click("clone-record")
    page.waits_for(lambda: float(page["clone-level"].get_attribute("value") or 0) > 0.3, "the level meter moves")
    page.waits_for(lambda: page["clone-time"].text >= "0:03", "three seconds are recorded")
    page.click("clone-record")
    page.shows("clone-what", "Your recording, 0:0")
    assert page["clone-transcript"].get_attribute("value") == sentence
    page.click("clone-play")
    page.waits_for(lambda: page.state == "playing", "the recording is heard")
    page.click("clone-listen")
    page.waits_for(lambda: "Confirm that you may" in page.css("#clone-dialog .problem").text, "permission is asked for")
    page.click("clone-allowed")
    page.click("clone-listen")
    page.waits_for(lambda: triton.requests, "the clone speaks")
    assert triton.requests[0]["REF_TEXT"] == sentence
    page.write("clone-name", name)
    page.click("clone-keep")
    page.waits_for(lambda: not page["clone-dialog"].is_displayed(), "the voice is kept")
    page.shows("status", f"{name} is yours")
    assert page.focused() == "text"
    assert page.voice(name).find_element(By.TAG_NAME, "input").is_selected()
    (voice,) = stored(frontend)
    assert (voice["name"], voice["type"], voice["language"]) == (name, "audio_sample", "english")
    page.speak("A paragraph to hear in the new voice. It has two sentences.")
    assert triton.requests[-1]["REF_TEXT"] == sentence
    page.click("code-open")
    assert f'voice="{voice["id"]}"' in page["code"].text


def test_a_voice_is_cloned_from_a_file_or_from_one_that_is_dropped(
    page: Page, frontend: Frontend, tmp_path: Path, name: str
) -> None:
    recording = tmp_path / "anna.wav"
    with wave.open(str(recording), "wb") as file:
        file.setparams((1, 2, 24_000, 0, "NONE", ""))
        file.writeframes(voice_like(3.0))
    page.click("clone-open")
    page["clone-file"].send_keys(str(recording))
    page.shows("clone-what", "anna.wav")
    page.run(
        """
        const [zone, bytes] = arguments;
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([Uint8Array.from(bytes)], "dropped.wav"));
        zone.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
        """,
        page["clone-drop"],
        list(recording.read_bytes()),
    )
    page.shows("clone-what", "dropped.wav")
    page.click("clone-allowed")
    page.write("clone-name", name)
    page.click("clone-keep")
    page.waits_for(lambda: stored(frontend), "the voice is kept")


def voice_like(seconds: float) -> bytes:
    return b64decode(tone()) * round(seconds / 0.08)


def test_what_is_wrong_with_a_recording_is_said_in_the_dialog(page: Page, tmp_path: Path) -> None:
    page.click("clone-open")
    page.click("clone-keep")
    problem = "#clone-dialog .problem"
    page.waits_for(lambda: "Record the voice first" in page.css(problem).text, "a recording is asked for")
    recording = tmp_path / "short.wav"
    recording.write_bytes(wav(0.4))
    page["clone-file"].send_keys(str(recording))
    page.click("clone-allowed")
    page.write("clone-name", "Short")
    page.click("clone-keep")
    page.waits_for(lambda: "too short" in page.css(problem).text, "the server's word is shown")
    page.press(ESCAPE)
    assert not page["clone-dialog"].is_displayed()


def test_a_server_that_requires_consent_gets_it_recorded(
    browser: Chrome, triton: FakeTriton, tmp_path: Path, name: str
) -> None:
    settings = {"default_model": "qwen3_tts_custom_voice", "idle_timeout": 0, "voices_folder": str(tmp_path)}
    with Frontend(triton_url=triton.url, require_consent=True, **settings) as frontend:
        page = Page(browser, frontend.url)
        page.open()
        page.click("clone-open")
        recording = tmp_path / "anna.wav"
        with wave.open(str(recording), "wb") as file:
            file.setparams((1, 2, 24_000, 0, "NONE", ""))
            file.writeframes(voice_like(3.0))
        page["clone-file"].send_keys(str(recording))
        page.click("clone-allowed")
        page.write("clone-name", name)
        assert not page["consent"].is_displayed()
        page.click("clone-keep")
        page.waits_for(lambda: page["consent"].is_displayed(), "consent is asked for")
        assert page.focused() == "consent-record"
        page.click("consent-record")
        page.waits_for(lambda: page["consent-time"].text >= "0:02", "it is recorded")
        page.click("consent-record")
        page.shows("consent-what", "Your recording")
        page.click("clone-keep")
        page.waits_for(lambda: stored(frontend), "the voice is kept")
        (consent,) = httpx2.get(f"{frontend.url}/v1/audio/voice_consents").json()["data"]
        assert stored(frontend)[0]["consent"] == consent["id"]
        assert (consent["name"], consent["language"]) == (name, "en-US")


def test_a_described_voice_is_kept_as_it_was_heard(
    page: Page, frontend: Frontend, triton: FakeTriton, name: str
) -> None:
    page.click("describe-open")
    page.click_on(page.css("#describe-examples button"))
    page.click("describe-listen")
    page.waits_for(lambda: page["describe-again"].is_enabled(), "it is heard")
    page.click("describe-again")
    page.waits_for(lambda: len(triton.requests) == 2, "another one is heard")
    page.waits_for(lambda: page.state in {"playing", "idle"}, "all of it is made")
    page.write("describe-name", name)
    page.click("describe-keep")
    page.waits_for(lambda: stored(frontend), "the voice is kept")
    first, heard, kept = triton.requests
    same = ("TEXT", "INSTRUCT", "SEED", "LANGUAGE")
    assert [heard[field] for field in same] == [kept[field] for field in same]
    assert first["SEED"] != heard["SEED"]
    page.waits_for(lambda: name in page.voices(), "its card is there")


def test_a_voice_is_renamed_and_deleted(page: Page, frontend: Frontend, name: str) -> None:
    voice_id = make_voice(frontend, "Before")
    page.reload()
    page.choose_voice("Before")
    page.click_on(page.css("[aria-label='Rename Before']"))
    page.write("ask-name", "Vivian")
    page.click("ask-go")
    page.waits_for(lambda: "Vivian" in page.css("#ask-dialog .problem").text, "a name that is taken is refused")
    page.write("ask-name", name)
    page.click("ask-go")
    page.waits_for(lambda: name in page.voices(), "it has its new name")
    page.waits_for(lambda: page.run("return document.activeElement.name") == "voice", "its card has the focus")
    assert [voice["id"] for voice in stored(frontend)] == [voice_id]
    page.click_on(page.css(f"[aria-label='Delete {name}']"))
    page.click("ask-go")
    page.waits_for(lambda: name not in page.voices(), "it is gone")
    assert stored(frontend) == []


def test_two_voices_are_blended_with_a_slider(page: Page, frontend: Frontend, triton: FakeTriton) -> None:
    for each in ("Bob", "Cleo"):
        make_voice(frontend, each)
    triton.requests.clear()
    page.click("blend-open")
    page.shows("status", "Blending needs two voices of yours")
    page.reload()
    page.click("blend-open")
    page.choose("blend-first", stored(frontend)[0]["id"])
    page.choose("blend-second", stored(frontend)[1]["id"])
    page.write("blend-share", "70")
    assert page["blend-shown"].text == "70 %"
    page.click("blend-listen")
    page.waits_for(lambda: triton.requests, "the blend is heard")
    page.click("blend-use")
    assert "Cleo 70 % + Bob 30 %" in page.voices()
    page.speak("Hello.")
    assert len(triton.requests) == 2
    assert "REF_BLEND" in "".join(key for key in triton.requests[-1])


def test_only_what_works_is_offered(page: Page) -> None:
    """With the fields of a server that says what its models are, and which names are the same voice."""
    page.run("""
        const real = window.fetch;
        const works = { model: "hibari", languages: ["english"], available: true };
        const voice = (name, more) => ({ id: name, name, ...works, ...more });
        const lists = {
            "v1/audio/voices": { voices: [
                voice("heart", { gender: "female", language: "english" }),
                voice("nova", { same_as: "heart" }),
                voice("vivian", { available: false, reason: "no weights" }),
            ] },
            "health": { status: "ok", models: { hibari: { state: "unloaded" },
                qwen3_tts_base: { state: "unloaded", available: false, reason: "it needs torch." } } },
        };
        window.fetch = async (path, ...rest) => {
            const list = lists[String(path)];
            return list ? new Response(JSON.stringify(list)) : real(path, ...rest);
        };
        document.getElementById("model").dispatchEvent(new Event("change", { bubbles: true }));
        document.dispatchEvent(new Event("visibilitychange"));
    """)
    page.waits_for(lambda: page.voices() == ["Heart"], "one voice is there, once")
    assert "also nova" in page.voice("Heart").text
    options = [option.text for option in page.all("#language option")]
    assert options == ["Auto-detect", "English"]
    assert not page["instructions"].is_displayed()
    assert "one style" in page["style-note"].text
    page.waits_for(lambda: not page["clone-open"].is_enabled(), "cloning is closed")
    assert "it needs torch" in page["make-note"].text
