"""Engines over tiny checkpoints, started by the first test that needs them and shared by the session."""

from collections.abc import Callable, Iterator
from functools import cache

import pytest

from speech_engines.base import Engine
from speech_protocol.models import QWEN3_TTS, ModelSpec
from tests.support.types import CheckpointOf

EngineOf = Callable[..., Engine]


@pytest.fixture(scope="session")
def reference_engine(tiny_checkpoint: CheckpointOf) -> Iterator[EngineOf]:
    """`reference_engine(variant, projection=False)`: the qwen-tts engine over that tiny checkpoint."""
    from speech_engines.qwen3_tts.reference import create_engine

    engines: list[Engine] = []

    @cache
    def start(variant: str, projection: bool = False) -> Engine:
        spec = spec_of(variant)
        environment = {
            spec.checkpoint_variable: str(tiny_checkpoint(variant, projection)),
            "DEVICE": "cpu",
            "DTYPE": "float32",
        }
        engines.append(create_engine(spec, environment))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


def spec_of(variant: str) -> ModelSpec:
    return next(spec for spec in QWEN3_TTS if spec.task == variant)
