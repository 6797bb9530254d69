"""Errors on the page: plain messages with a remedy."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.support.fake_triton import FakeTriton
from tests.support.page import ENTER, Page
from tests.support.stack import Frontend

KEY = "sk-of-the-page"


@pytest.fixture
def closed(browser: Chrome, triton: FakeTriton, tmp_path: Path) -> Iterator[Page]:
    """The page of a server that requires a key for everything."""
    settings = {"default_model": "qwen3_tts_custom_voice", "idle_timeout": 0, "voices_folder": str(tmp_path)}
    with Frontend(triton_url=triton.url, api_keys=KEY, open_lists=False, **settings) as frontend:
        page = Page(browser, frontend.url)
        page.emulate()
        page.browser.get(f"{frontend.url}/")
        yield page


def test_a_server_with_keys_prompts_for_the_key_and_continues_with_it(closed: Page) -> None:
    closed.waits_for(lambda: closed["key-dialog"].is_displayed(), "the key is asked for")
    assert closed.focused() == "key"
    assert "needs an API key" in closed["key-why"].text
    closed.press("sk-wrong", ENTER)
    closed.shows("key-why", "rejected this key")
    assert closed.focused() == "key"
    closed.write("key", KEY)
    closed.type("key", ENTER)
    closed.has_lists()
    closed.speak("Hello.")
    closed.reload()
    kept = closed.run(
        "return [document.cookie, JSON.stringify(localStorage).includes(arguments[0]), location.href]", KEY
    )
    assert kept == ["", False, f"{closed.url}/"]
    assert closed.run("return sessionStorage.getItem('speech-api-key')") == KEY


def test_what_failed_for_want_of_a_key_is_done_when_the_key_is_there(closed: Page, triton: FakeTriton) -> None:
    closed.waits_for(lambda: closed["key-dialog"].is_displayed(), "the key is asked for")
    closed.press(KEY, ENTER)
    closed.has_lists()
    closed.run("sessionStorage.clear()")
    closed.click("speak")
    closed.waits_for(lambda: closed["key-dialog"].is_displayed(), "the key is asked for")
    assert not triton.requests
    closed.press(KEY, ENTER)
    closed.comes_to("playing", "idle")
    assert triton.requests


def test_an_error_is_shown_with_its_message_and_request_id_until_the_next_try(page: Page) -> None:
    page.write("text", " ")
    page.click("speak")
    page.comes_to("error")
    assert "The input is empty" in page["problem"].text
    assert "req_" in page["problem"].text
    assert page["problem"].get_attribute("role") == "alert"
    assert not page.all(".retry"), "the same would fail again"
    page.speak("Hello.")
    assert page["problem"].text == ""


def test_a_failure_in_the_middle_keeps_what_was_heard_and_offers_a_retry(page: Page, triton: FakeTriton) -> None:
    page.write("text", json.dumps({"chunks": 10, "fail_after": 5}))
    page.click("speak")
    page.comes_to("error")
    assert page["problem"].text.startswith("The model failed.")
    assert "kept" in page["status"].text
    assert page["play"].is_enabled()
    before = len(triton.requests)
    page.click_on(page.css(".retry"))
    page.waits_for(lambda: len(triton.requests) > before, "it is asked for again")


def test_a_busy_server_says_when_to_retry(page: Page, triton: FakeTriton) -> None:
    page.write("text", json.dumps({"error": "queue_full"}))
    page.click("speak")
    page.comes_to("error")
    assert page.css(".retry").text.startswith("Retry")


def test_an_unreachable_server_is_reported(page: Page) -> None:
    page.browser.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    try:
        page.click("speak")
        page.shows("problem", "The server does not answer. Check that it runs")
    finally:
        page.browser.execute_cdp_cmd("Network.emulateNetworkConditions", {**offline, "offline": False})
    page.click_on(page.css(".retry"))
    page.comes_to("playing", "idle")
    assert page["problem"].text == ""
