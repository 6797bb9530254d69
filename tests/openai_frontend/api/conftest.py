"""The frontend before a fake Triton: these tests need no model and no tritonserver."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from speech_protocol.models import MODELS
from tests.support.fake_triton import FakeTriton
from tests.support.stack import Frontend


@dataclass(frozen=True, slots=True)
class FakeStack:
    """A fake Triton with every model of the repository, and a frontend before it."""

    triton: FakeTriton
    frontend: Frontend


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStack]:
    """The embedded voice is the default model, never unloaded."""
    voices = str(tmp_path_factory.mktemp("voices"))
    with (
        FakeTriton(*MODELS, "speech_batch") as triton,
        Frontend(triton_url=triton.url, default_model="hibari", idle_timeout=0, voices_folder=voices) as frontend,
    ):
        yield FakeStack(triton, frontend)
