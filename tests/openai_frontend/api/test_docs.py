"""The API documentation at /docs, in a real browser: it works, and loads nothing from other hosts."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from selenium.webdriver.common.by import By

from tests.support.browser import chromium
from tests.support.stack import Frontend
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def frontend() -> Iterator[Frontend]:
    with Frontend(triton_url="http://127.0.0.1:9") as running:
        yield running


def test_every_file_of_the_page_is_the_servers_own(frontend: Frontend) -> None:
    page = httpx2.get(f"{frontend.url}/docs")
    assert "'self'" in page.headers["content-security-policy"]
    files = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert {"swagger-ui-bundle.js", "swagger-ui.css"} <= {Path(file).name for file in files}
    for file in files:
        assert file.startswith(("/docs/assets/", "data:"))
        assert file.startswith("data:") or httpx2.get(frontend.url + file).status_code == 200
    assert httpx2.get(f"{frontend.url}/redoc").status_code == 404


def test_the_page_shows_the_routes_and_uses_no_other_host(frontend: Frontend, tmp_path: Path) -> None:
    with chromium(tmp_path / "profile", tmp_path / "downloads") as browser:
        browser.get(f"{frontend.url}/docs")
        eventually(
            lambda: browser.find_elements(By.ID, "operations-default-create_speech_v1_audio_speech_post"), "it shows"
        )
        asked = browser.execute_script("return performance.getEntriesByType('resource').map(each => each.name)")
    assert asked
    assert [address for address in asked if not address.startswith((frontend.url, "data:"))] == []
