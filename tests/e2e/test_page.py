"""The page at / with a real Triton: speech is played during synthesis, and nothing is loaded from other hosts."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from selenium.webdriver import Chrome

from tests.support.browser import chromium
from tests.support.page import Page
from tests.support.replies import check
from tests.support.stack import Gate, Stack

STATIC = Path(__file__).parent.parent.parent / "openai_frontend/static"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile"), tmp_path_factory.mktemp("downloads")) as running:
        yield running


@pytest.fixture
def page(browser: Chrome, stack: Stack) -> Page:
    page = Page(browser, stack.frontend.url)
    page.open()
    return page


def test_the_embedded_voice_is_heard(page: Page) -> None:
    page.speak("There is nothing better than a good cup of coffee.")
    assert "First audio after" in page["figures"].text
    assert page.seconds()[1] >= 1


def test_the_first_chunk_is_played_while_the_model_still_makes_the_next(
    page: Page, stack: Stack, tmp_path: Path
) -> None:
    name = f"t{uuid.uuid4().hex[:8]}"
    page.click_on(page.css("details summary"))
    page.choose("model", "scripted")
    with Gate(tmp_path) as gate:
        page.write("text", json.dumps({"name": name, "chunks": 4, "gate": str(gate)}))
        page.click("speak")
        page.comes_to("speaking")
        # The engine waits at its gate: audio that is played now is played during synthesis.
        page.waits_for(lambda: page.run("return document.querySelector('#timeline').ariaValueText") != "", "it plays")
        assert f"{name} chunk 2" not in stack.script_log()
        gate.open()
        page.comes_to("playing", "idle")


def test_stop_ends_the_request(page: Page, stack: Stack) -> None:
    name = f"t{uuid.uuid4().hex[:8]}"
    page.click_on(page.css("details summary"))
    page.choose("model", "scripted")
    page.write("text", json.dumps({"name": name, "chunks": None}))
    page.click("speak")
    page.comes_to("speaking")
    page.click("speak")
    page.comes_to("idle")
    ended = f"{name} ends"
    page.waits_for(lambda: any(line.startswith(ended) for line in stack.script_log()), "the engine hears of it")


def test_the_page_needs_nothing_from_elsewhere_and_breaks_no_rule_of_its_own(page: Page) -> None:
    page.browser.get_log("browser")
    page.reload()
    assert page.browser.get_log("browser") == []
    loaded = page.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert loaded
    assert all(address.startswith(page.url) for address in loaded)


def test_the_page_and_its_files_carry_a_strict_policy_and_the_right_types(stack: Stack) -> None:
    reply = httpx2.get(f"{stack.frontend.url}/")
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert httpx2.head(f"{stack.frontend.url}/").status_code == 200
    for kind, files in {"text/javascript": "js/*.js", "text/css": "css/*.css", "image/svg+xml": "*.svg"}.items():
        for file in STATIC.glob(files):
            reply = httpx2.get(f"{stack.frontend.url}/static/{file.relative_to(STATIC)}")
            assert reply.headers["content-type"].startswith(kind)
    check(httpx2.get(f"{stack.frontend.url}/static/absent.js"), 404, None, "not_found")
    check(httpx2.get(f"{stack.frontend.url}/static/../settings.py"), 404, None, "not_found")
