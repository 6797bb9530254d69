"""Tests that need a GPU: `python -m pytest -m gpu` on a machine with one."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from speech_engines.base import Engine
from speech_engines.qwen3_tts.factory import create_engine
from speech_protocol.models import QWEN3_TTS_CUSTOM_VOICE
from speech_protocol.request import SpeechRequest
from tests.support.sinks import CollectingSink
from tests.support.types import CheckpointOf

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")]

FIELDS = {"speaker": "ryan", "seed": 5, "temperature": 0.0, "max_audio_seconds": 4.0}


def engine_on(device: str, checkpoint: object) -> Engine:
    environment = {"MODEL_ID": str(checkpoint), "DEVICE": device, "DTYPE": "float32", "MAX_BATCH": "4"}
    environment["RUNAWAY_GUARD"] = "off"
    return create_engine(QWEN3_TTS_CUSTOM_VOICE, environment)


@pytest.fixture(scope="module")
def engine(tiny_checkpoint: CheckpointOf) -> Iterator[Engine]:
    running = engine_on("cuda", tiny_checkpoint("custom_voice"))
    yield running
    running.close()


def speak(running: Engine, text: str = "A few words.") -> CollectingSink:
    sink = CollectingSink()
    running.submit(SpeechRequest(text, **FIELDS), sink)  # type: ignore[arg-type]
    return sink


def test_greedy_audio_of_the_gpu_is_that_of_the_cpu(engine: Engine, tiny_checkpoint: CheckpointOf) -> None:
    on_cpu = engine_on("cpu", tiny_checkpoint("custom_voice"))
    expected, ours = speak(on_cpu).wait(), speak(engine).wait()
    on_cpu.close()
    assert len(ours.samples) == len(expected.samples)
    np.testing.assert_allclose(ours.samples, expected.samples, atol=2e-3)


def test_every_likely_shape_was_recorded_before_the_model_was_ready(engine: Engine) -> None:
    graphs = engine._device._graphs  # type: ignore[attr-defined]
    assert graphs
    assert all(set(graph.shapes) == set(graph._recorded) for graph in graphs)
    assert engine.capabilities.notes == ()


def test_memory_does_not_grow_with_frames(engine: Engine) -> None:
    for _ in range(4):
        speak(engine).result()
    before = torch.cuda.memory_allocated()
    for sink in [speak(engine, "Some more words " * 4) for _ in range(12)]:
        sink.result()
    assert torch.cuda.memory_allocated() == before
