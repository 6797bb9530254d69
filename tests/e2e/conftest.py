"""What tests of the scripted engine share."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import Gate


@pytest.fixture
def name() -> str:
    """A name of its own in the engine's log for each test."""
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with Gate(tmp_path) as gate:
        yield gate
