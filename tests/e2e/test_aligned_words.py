"""Word times of Qwen3-TTS by the forced aligner, through a real tritonserver, on tiny checkpoints."""

import json
from collections.abc import Iterator

import httpx2
import pytest

from speech_protocol.models import ALIGNER
from tests.support.aligner_checkpoint import build_aligner
from tests.support.stack import Stack, qwen_stack
from tests.support.types import CheckpointOf

TEXT = "One fine day. A second sentence, and a third one!"


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: CheckpointOf) -> Iterator[Stack]:
    aligner = build_aligner(tmp_path_factory.mktemp("aligner"))
    with qwen_stack(tmp_path_factory.mktemp("qwen"), tiny_checkpoint, str(aligner), max_audio_seconds=3.0) as running:
        yield running


def test_the_aligner_is_loaded_on_demand_and_every_word_gets_a_time(qwen: Stack) -> None:
    assert qwen.frontend.health()["models"][ALIGNER.name]["state"] == "unloaded"
    body = {"model": "qwen3_tts_custom_voice", "input": TEXT, "response_format": "pcm", "word_timestamps": True}
    reply = httpx2.post(f"{qwen.frontend.url}/v1/audio/speech", json=body, timeout=240)
    assert reply.status_code == 200, reply.text
    words = json.loads(reply.headers["x-word-timestamps"])
    assert [word["word"] for word in words] == TEXT.split()
    assert all(0 <= word["start"] <= word["end"] <= len(reply.content) / 48_000 for word in words)
    assert qwen.frontend.health()["models"][ALIGNER.name]["state"] == "ready"
