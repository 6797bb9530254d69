"""One browser for all tests of the page, and one server with a fake Triton, since the page is the subject."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from selenium.webdriver import Chrome

from tests.support.browser import chromium
from tests.support.fake_models import tone
from tests.support.fake_triton import FakeTriton
from tests.support.page import Page
from tests.support.stack import Frontend

MODELS: Final = ("hibari", "qwen3_tts_custom_voice", "qwen3_tts_base", "qwen3_tts_voice_design")


@pytest.fixture(scope="package")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile"), downloads) as running:
        yield running


@pytest.fixture(scope="package")
def fake_triton() -> Iterator[FakeTriton]:
    with FakeTriton(*MODELS) as running:
        running.chunk = tone()
        yield running


@pytest.fixture
def triton(fake_triton: FakeTriton) -> FakeTriton:
    """The fake as it is at the start: each text is 2 s long."""
    fake_triton.chunks = 25
    fake_triton.hold_loads = None
    fake_triton.requests.clear()
    return fake_triton


@pytest.fixture(scope="package")
def frontend(fake_triton: FakeTriton, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frontend]:
    voices = str(tmp_path_factory.mktemp("voices"))
    settings = {"default_model": "qwen3_tts_custom_voice", "idle_timeout": 0, "voices_folder": voices}
    with Frontend(triton_url=fake_triton.url, **settings) as running:
        yield running


@pytest.fixture
def page(browser: Chrome, frontend: Frontend, triton: FakeTriton) -> Page:
    """The page as a new user sees it."""
    page = Page(browser, frontend.url)
    page.emulate()
    page.forget()
    return page
