"""Fixtures of tests with the scripted engine."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import Gate


@pytest.fixture
def name() -> str:
    """A unique name for each test in the engine's log."""
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with Gate(tmp_path) as gate:
        yield gate
