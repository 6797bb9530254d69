"""The batching engine over tiny checkpoints."""

from collections.abc import Iterator
from functools import cache

import pytest

from speech_engines.base import Engine
from tests.speech_engines.conftest import EngineOf, spec_of
from tests.support.types import CheckpointOf


@pytest.fixture(scope="module")
def batching_engine(tiny_checkpoint: CheckpointOf) -> Iterator[EngineOf]:
    """`batching_engine(variant, projection=False)`: the batching engine with four slots over that tiny checkpoint."""
    from speech_engines.qwen3_tts.factory import create_engine

    engines: list[Engine] = []

    @cache
    def start(variant: str, projection: bool = False) -> Engine:
        spec = spec_of(variant)
        checkpoint = str(tiny_checkpoint(variant, projection))
        environment = {spec.checkpoint_variable: checkpoint, "DEVICE": "cpu", "DTYPE": "float32", "MAX_BATCH": "4"}
        environment |= {"MAX_AUDIO_SECONDS": "60", "RUNAWAY_GUARD": "off"}
        engines.append(create_engine(spec, environment))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()
