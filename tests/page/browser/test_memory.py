"""The page's stored data: history, settings, links, code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_triton import FakeTriton
from tests.support.page import Page

SENTENCE = 'It\'s "1 $HOME" — naïve 😀'


@pytest.fixture
def filled(page: Page, triton: FakeTriton) -> Page:
    """A page on which everything is set to something; what it speaks is 8 s long, at its speed 6."""
    triton.chunks = 100
    page.choose_voice("Serena")
    page.write("text", SENTENCE)
    page.write("instructions", "Calm.")
    page.choose("language", "english")
    page.write("speed", "1.25")
    page.click_on(page.css("details summary"))
    page.write("seed", "77")
    return page


def values(page: Page) -> list[str | None]:
    fields = ("text", "instructions", "language", "speed", "seed")
    return [page[name].get_attribute("value") for name in fields]


def chosen(page: Page) -> str:
    return page.css(".voice:has(input:checked) strong").text


def test_text_settings_and_results_survive_a_reload(filled: Page, triton: FakeTriton) -> None:
    before = values(filled)
    filled.click("speak")
    filled.waits_for(lambda: "naïve" in filled["recent"].text, "the result is among the recent ones")
    filled.reload()
    assert values(filled) == before
    filled.waits_for(lambda: chosen(filled) == "Serena", "the voice is the same")
    filled.waits_for(lambda: "Serena · 0:06" in filled["recent"].text, "the result is still there")
    requests = len(triton.requests)
    filled.click_on(filled.css("#recent button[aria-label^='Play:']"))
    filled.waits_for(lambda: filled.seconds()[1] == 6, "it is in the player")
    filled.comes_to("playing")
    assert len(triton.requests) == requests, "it is not made again"
    assert filled.css(".result").get_attribute("aria-current") == "true"


def test_a_result_gives_its_settings_back(filled: Page) -> None:
    filled.click("speak")
    filled.waits_for(lambda: "naïve" in filled["recent"].text, "the result is among the recent ones")
    before = values(filled)
    filled.write("text", "Another one.")
    filled.choose_voice("Ryan")
    filled.click_on(filled.css("#recent button[aria-label^='Use again:']"))
    assert values(filled) == before
    assert chosen(filled) == "Serena"


def test_clear_history_forgets_everything_but_the_key_is_never_kept(filled: Page) -> None:
    filled.click("speak")
    filled.waits_for(lambda: "naïve" in filled["recent"].text, "the result is among the recent ones")
    assert filled.run("return [document.cookie, JSON.stringify(localStorage).includes('key')]") == ["", False]
    filled.click("clear")
    filled.click("ask-go")
    filled.waits_for(lambda: not filled.all(".result"), "the results are gone")
    assert filled["play"].get_property("disabled")
    filled.reload()
    assert not filled.all(".result")
    assert SENTENCE not in str(values(filled)[0])


def test_one_result_is_removed(filled: Page) -> None:
    filled.click("speak")
    filled.waits_for(lambda: filled.all(".result"), "the result is among the recent ones")
    filled.click_on(filled.css("#recent button[aria-label^='Remove:']"))
    filled.waits_for(lambda: not filled.all(".result"), "it is gone")


def test_a_link_restores_the_settings_once(filled: Page) -> None:
    before = values(filled)
    filled.browser.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    filled.click("link")
    filled.shows("status", "Link copied.")
    link = filled.browser.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    address, _, fragment = link.partition("#")
    assert address == f"{filled.url}/"
    filled.forget()
    filled.open(f"#{fragment}")
    filled.waits_for(lambda: chosen(filled) == "Serena", "the voice is the same")
    assert values(filled) == before
    assert filled.browser.current_url == f"{filled.url}/", "a reload keeps what is changed from now on"


def code(page: Page, language: str) -> str:
    page.click("code-open")
    page.click_on(page.css(f"input[name=code][value={language}]"))
    return str(page["code"].get_attribute("textContent"))


def test_the_code_in_python_makes_the_same_speech(filled: Page, triton: FakeTriton, tmp_path: Path) -> None:
    program = code(filled, "python")
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "speech.mp3").stat().st_size > 1000
    (request,) = triton.requests
    assert (request["TEXT"], request["SPEAKER"], request["INSTRUCT"]) == (SENTENCE, "serena", "Calm.")
    assert (request["SEED"], request["LANGUAGE"]) == (77, "english")


def test_the_code_in_curl_makes_the_same_speech(filled: Page, triton: FakeTriton, tmp_path: Path) -> None:
    program = code(filled, "curl")
    environment = {**os.environ, "OPENAI_API_KEY": "unused"}
    subprocess.run(["sh", "-c", program], cwd=tmp_path, check=True, capture_output=True, timeout=60, env=environment)
    assert (tmp_path / "speech.mp3").stat().st_size > 1000
    (request,) = triton.requests
    assert (request["TEXT"], request["SPEAKER"], request["SEED"]) == (SENTENCE, "serena", 77)


def test_the_key_is_in_no_code_and_copy_copies(filled: Page) -> None:
    filled.run("sessionStorage.setItem('speech-api-key', 'sk-secret')")
    for language in ("python", "javascript", "curl"):
        assert "sk-secret" not in code(filled, language)
        filled.press("\ue00c")
    shown = code(filled, "javascript")
    filled.browser.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    filled.click("code-copy")
    filled.waits_for(lambda: filled.css("#code-dialog .status").text == "Copied.", "it is copied")
    assert filled.browser.execute_async_script("navigator.clipboard.readText().then(arguments[0])") == shown
