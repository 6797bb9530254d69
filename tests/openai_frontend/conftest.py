"""Fixtures of the frontend's tests: one frontend with a fake Triton. No test in this folder starts tritonserver."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_stack import FakeStack
from tests.support.stack import Gate


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStack]:
    """An embedded voice, the Qwen3-TTS models and the scripted model, all of them fakes."""
    with FakeStack(tmp_path_factory.mktemp("fake"), default_model="hibari", idle_timeout=0) as running:
        yield running


@pytest.fixture
def name() -> str:
    """A unique name for each test in the model's log."""
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with Gate(tmp_path) as gate:
        yield gate
