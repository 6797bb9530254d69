"""Failed loads, unloads by other clients, and weights that stay in memory."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest
import tritonclient.http

from tests.faults.test_stub import FRAME_BYTES, SOON_S, body, pending, speak, streaming
from tests.support.processes import stubs
from tests.support.replies import check
from tests.support.slow_reader import SlowReader
from tests.support.stack import Gate, Stack
from tests.support.types import CheckpointOf
from tests.support.waiting import eventually


@pytest.fixture
def no_memory(stack: Stack) -> Iterator[Path]:
    file = Path(stack.script) / "load-fails"
    file.touch()
    yield file
    file.unlink(missing_ok=True)


def test_a_model_that_finds_no_memory_is_a_503_and_is_tried_again_by_the_next_request(
    stack: Stack, name: str, no_memory: Path
) -> None:
    unload(stack)
    reply = speak(stack, name, chunks=1)
    check(reply, 503, None, "out_of_memory")
    assert int(reply.headers["retry-after"]) > 0
    assert not stubs(stack)
    no_memory.unlink()
    assert len(speak(stack, f"{name}-next", chunks=3).content) == 3 * FRAME_BYTES


def test_a_model_that_is_unloaded_while_it_speaks_is_draining_and_its_stream_is_finished(
    stack: Stack, name: str, gate: Gate
) -> None:
    with streaming(stack, body(name, chunks=5, gate=str(gate))) as pieces:
        begun = next(pieces)
        with tritonclient.http.InferenceServerClient(stack.triton.url.partition("://")[2]) as client:
            client.unload_model("scripted")
        eventually(lambda: stack.frontend.model_state("scripted") == "draining", "it drains")
        gate.open()
        assert len(begun + b"".join(pieces)) == 5 * FRAME_BYTES
    eventually(lambda: stack.frontend.model_state("scripted") == "unloaded", "it is unloaded")


def test_a_slow_reader_holds_its_own_slot_and_no_row_of_the_engine(stack: Stack, name: str) -> None:
    with SlowReader(stack.frontend, body(name, chunks=2_000)) as reader:
        assert reader.read(1)
        eventually(lambda: f"{name} ends 2000" in stack.script_log(), "the engine is done with it", timeout_s=120)
        assert reader.read(1)
        assert pending(stack) == 1
        assert len(speak(stack, f"{name}-other", chunks=3).content) == 3 * FRAME_BYTES
    eventually(lambda: pending(stack) == 0, "its place is free")


def test_the_weights_of_a_standby_are_held_in_memory_while_no_model_is_loaded(
    tmp_path: Path, tiny_checkpoint: CheckpointOf
) -> None:
    # Of its own: other tests of this process map the shared one.
    checkpoint = str(shutil.copytree(tiny_checkpoint("custom_voice"), tmp_path / "checkpoint"))
    settings = {"custom_voice_model_id": checkpoint, "warm_standby": "qwen3_tts_custom_voice"}
    weights = {str(file.resolve()) for file in Path(checkpoint).rglob("*.safetensors")}
    with Stack(tmp_path, **settings) as stack:
        own = psutil.Process(os.getpid())  # the frontend runs in here
        eventually(lambda: weights <= {row.path for row in own.memory_maps()}, "the weights are mapped")
        eventually(
            lambda: all(row.rss >= Path(row.path).stat().st_size for row in own.memory_maps() if row.path in weights),
            "every page of them is there",
        )
        assert httpx2.get(f"{stack.frontend.url}/health", timeout=SOON_S).json()["model_loaded"] is False
    assert not weights & {row.path for row in own.memory_maps()}


def unload(stack: Stack) -> None:
    with tritonclient.http.InferenceServerClient(stack.triton.url.partition("://")[2]) as client:
        client.unload_model("scripted")
    eventually(lambda: not stubs(stack), "the model is unloaded")
