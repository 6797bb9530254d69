"""The page at /, in a real browser: speech is heard while it is made, errors show, nothing comes from elsewhere."""

import json
import re
import uuid
import wave
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.e2e.test_errors import check, wav
from tests.support.browser import chromium
from tests.support.stack import Frontend, Gate, Stack
from tests.support.waiting import eventually

SENTENCE = "There is nothing better than a good cup of coffee."
KEY = "sk-of-the-page"


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile"), downloads) as running:
        yield running


@pytest.fixture
def page(browser: Chrome, stack: Stack) -> Chrome:
    """The page of the session's frontend, its lists there."""
    browser.get(f"{stack.frontend.url}/")
    eventually(lambda: "voices" in field(browser, "server").text, "the page has its lists")
    return browser


def field(browser: Chrome, name: str) -> WebElement:
    return browser.find_element(By.ID, name)


def choose(browser: Chrome, select: str, value: str) -> None:
    field(browser, select).find_element(By.CSS_SELECTOR, f"option[value='{value}']").click()


def write(browser: Chrome, name: str, text: str) -> None:
    field(browser, name).clear()
    field(browser, name).send_keys(text)


def state(browser: Chrome) -> str | None:
    return browser.find_element(By.TAG_NAME, "body").get_attribute("data-state")


def comes_to(browser: Chrome, expected: str) -> None:
    eventually(lambda: state(browser) == expected, f"the page is {expected}: {field(browser, 'error').text}")


def test_speech_is_heard_measured_and_can_be_downloaded(page: Chrome, downloads: Path) -> None:
    write(page, "text", SENTENCE)
    field(page, "text").send_keys(Keys.CONTROL, Keys.ENTER)
    comes_to(page, "done")
    assert field(page, "status").text == "Done."
    assert re.fullmatch(r"\d+ ms", field(page, "first").text)
    assert re.fullmatch(r"[\d.]+ × real time", field(page, "pace").text)
    field(page, "download").click()
    eventually(lambda: (downloads / "speech.wav").exists(), "the file is saved")
    with wave.open(str(downloads / "speech.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
        assert field(page, "length").text == f"{file.getnframes() / 24_000:.1f} s"
        assert any(file.readframes(file.getnframes()))
    assert field(page, "replay").is_displayed()


def test_the_first_chunk_is_played_while_the_model_still_makes_the_next(
    page: Chrome, stack: Stack, tmp_path: Path
) -> None:
    name = f"t{uuid.uuid4().hex[:8]}"
    with Gate(tmp_path) as gate:
        choose(page, "model", "scripted")
        write(page, "text", json.dumps({"name": name, "chunks": 4, "gate": str(gate)}))
        field(page, "speak").click()
        comes_to(page, "playing")
        # The engine stands at its gate: what is heard now is heard while the speech is being made.
        assert field(page, "length").text == "0.1 s"
        eventually(lambda: played_pixels(page) > 0, "the picture shows what was heard")
        assert f"{name} chunk 2" not in stack.script_log()
        gate.open()
        comes_to(page, "done")
    assert field(page, "length").text == "0.3 s"


def played_pixels(browser: Chrome) -> int:
    """How much of the picture has the colour of what was played, which follows the clock of the sound card."""
    script = """
        const canvas = document.getElementById("wave");
        const colour = getComputedStyle(canvas).getPropertyValue("--played").trim().match(/[0-9a-f]{2}/g);
        const [red, green, blue] = colour.map((part) => parseInt(part, 16));
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let count = 0;
        for (let i = 0; i < data.length; i += 4)
            count += data[i] === red && data[i + 1] === green && data[i + 2] === blue && data[i + 3] === 255;
        return count;
    """
    return int(browser.execute_script(script))


def test_stop_ends_the_sound_and_the_request(page: Chrome, stack: Stack, tmp_path: Path) -> None:
    name = f"t{uuid.uuid4().hex[:8]}"
    with Gate(tmp_path) as gate:
        choose(page, "model", "scripted")
        write(page, "text", json.dumps({"name": name, "gate": str(gate), "gate_before": 3}))
        field(page, "speak").click()
        comes_to(page, "playing")
        field(page, "stop").click()
        assert state(page) == "idle"
        eventually(lambda: f"{name} is cancelled" in stack.script_log(), "the engine hears of it")


def test_an_error_is_shown_with_its_message_and_request_id(page: Chrome) -> None:
    write(page, "text", " ")
    field(page, "speak").click()
    comes_to(page, "error")
    shown = field(page, "error")
    assert shown.is_displayed()
    assert "The input is empty" in shown.text
    assert "req_" in shown.text
    assert shown.get_attribute("role") == "alert"
    write(page, "text", SENTENCE)
    field(page, "speak").click()
    comes_to(page, "done")
    assert not shown.is_displayed()


def test_a_recording_goes_to_the_clone_route_and_a_description_to_the_design_model(
    page: Chrome, tmp_path: Path
) -> None:
    recording = tmp_path / "short.wav"
    recording.write_bytes(wav(0.4))
    page.find_element(By.CSS_SELECTOR, "input[value=clone] + span").click()
    field(page, "speak").click()
    comes_to(page, "error")
    assert "Choose a recording" in field(page, "error").text
    field(page, "recording").send_keys(str(recording))
    field(page, "speak").click()
    eventually(lambda: "too short" in field(page, "error").text, "the server's word on the recording is shown")
    page.find_element(By.CSS_SELECTOR, "input[value=design] + span").click()
    field(page, "speak").click()
    eventually(lambda: "Describe the voice" in field(page, "error").text, "a description is asked for")


def test_a_closed_server_is_opened_by_the_key_which_stays_in_the_tab(browser: Chrome, stack: Stack) -> None:
    settings = {"triton_url": stack.triton.url, "default_model": "hibari", "idle_timeout": 0}
    with Frontend(**settings, api_keys=KEY, open_lists=False) as frontend:
        browser.get(f"{frontend.url}/")
        comes_to(browser, "error")
        assert "No API key" in field(browser, "error").text
        write(browser, "key", KEY + Keys.TAB)
        eventually(lambda: "voices" in field(browser, "server").text, "the lists come with the key")
        field(browser, "speak").click()
        comes_to(browser, "done")
        browser.refresh()
        eventually(lambda: "voices" in field(browser, "server").text, "the tab still has the key")
        kept = browser.execute_script("return [document.cookie, localStorage.length, location.href]")
        assert kept == ["", 0, f"{frontend.url}/"]


def test_the_page_needs_nothing_from_elsewhere_and_breaks_no_rule_of_its_own(page: Chrome) -> None:
    page.get_log("browser")
    page.refresh()
    eventually(lambda: "voices" in field(page, "server").text, "the page has its lists")
    assert page.get_log("browser") == []
    loaded = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert loaded
    assert all(address.startswith(page.current_url) for address in loaded)


def test_every_field_has_a_name_for_screen_readers_and_can_be_reached_by_keyboard(page: Chrome) -> None:
    nameless = page.execute_script("""
        const fields = document.querySelectorAll("input, select, textarea, button, audio, canvas");
        return [...fields].filter((it) => !it.labels?.length && !it.ariaLabel && !it.textContent.trim())
            .map((it) => it.outerHTML);
    """)
    assert nameless == []
    for _ in range(12):
        if page.switch_to.active_element.get_attribute("id") == "speak":
            break
        page.switch_to.active_element.send_keys(Keys.TAB)
    assert page.switch_to.active_element.get_attribute("id") == "speak"
    assert field(page, "status").get_attribute("aria-live") == "polite"


def test_the_page_and_its_files_carry_a_strict_policy_and_the_right_types(stack: Stack) -> None:
    reply = httpx2.get(f"{stack.frontend.url}/")
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert httpx2.head(f"{stack.frontend.url}/").status_code == 200
    for file, kind in {"page.js": "text/javascript", "page.css": "text/css", "icon.svg": "image/svg+xml"}.items():
        assert httpx2.get(f"{stack.frontend.url}/static/{file}").headers["content-type"].startswith(kind)
    check(httpx2.get(f"{stack.frontend.url}/static/absent.js"), 404, None, "not_found")
    check(httpx2.get(f"{stack.frontend.url}/static/../settings.py"), 404, None, "not_found")
