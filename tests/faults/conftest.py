"""Fixtures of the fault tests: a separate stack, whose models are unloaded by faults only."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import Gate, Stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("faults")
    with Stack(folder, default_model="hibari", idle_timeout=0, request_timeout=100) as running:
        yield running


@pytest.fixture
def name() -> str:
    """A unique name for each test in the engine's log."""
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with Gate(tmp_path) as gate:
        yield gate
