"""Stacks shared by the end-to-end tests; each is started by the first test that asks for it."""

from collections.abc import Iterator

import pytest

from tests.support.stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The embedded voice and the scripted model, never unloaded."""
    with Stack(tmp_path_factory.mktemp("script"), default_model="hibari", idle_timeout=0) as running:
        yield running
