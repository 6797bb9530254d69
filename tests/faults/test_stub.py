"""A model's process crashes: idle, during a load, during a stream. Triton reports nothing, and ends no stream."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_BYTES
from tests.support.aborts import once_more_if_triton_aborts
from tests.support.processes import has_ended, stub_of, stubs
from tests.support.stack import Gate, Stack
from tests.support.waiting import eventually

FRAME_BYTES = FRAME_SAMPLES * SAMPLE_BYTES
# Far less than the request time-out: what ends by then was noticed.
SOON_S = 40


def body(name: str, **script: object) -> dict[str, object]:
    return {"model": "scripted", "input": json.dumps({"name": name, **script}), "response_format": "pcm"}


def speak(stack: Stack, name: str, **script: object) -> httpx2.Response:
    return httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json=body(name, **script), timeout=SOON_S)


@contextmanager
def streaming(stack: Stack, request: dict[str, object]) -> Iterator[Iterator[bytes]]:
    """The pieces of a reply, of which the first has come."""
    with (
        httpx2.Client(timeout=SOON_S) as client,
        client.stream("POST", f"{stack.frontend.url}/v1/audio/speech", json=request) as reply,
    ):
        assert reply.status_code == 200
        yield reply.iter_raw()


def kill(stack: Stack, model: str = "scripted") -> None:
    stub = stub_of(stack, model)
    stub.kill()
    eventually(lambda: has_ended(stub), "the process ends")


def loads(stack: Stack) -> int:
    return stack.script_log().count("loaded")


def pending(stack: Stack) -> int:
    return int(stack.frontend.health()["pending_requests"])


def is_whole_again(stack: Stack, name: str) -> None:
    """Nothing is held any more, one process exists, and the next request is served."""
    eventually(lambda: pending(stack) == 0, "no request is left")
    assert len(speak(stack, f"{name}-next", chunks=3).content) == 3 * FRAME_BYTES
    eventually(lambda: len([stub for stub in stubs(stack) if not has_ended(stub)]) <= 2, "one process a model")


@once_more_if_triton_aborts
def test_a_stream_whose_process_dies_is_broken_off_at_once(stack: Stack, name: str, gate: Gate) -> None:
    with streaming(stack, body(name, chunks=5, gate=str(gate))) as pieces:
        assert next(pieces)
        kill(stack)
        with pytest.raises(httpx2.RemoteProtocolError):
            list(pieces)
    gate.open()
    is_whole_again(stack, name)


@once_more_if_triton_aborts
def test_an_event_stream_whose_process_dies_ends_in_an_error_event(stack: Stack, name: str, gate: Gate) -> None:
    with streaming(stack, {**body(name, chunks=5, gate=str(gate)), "stream_format": "sse"}) as pieces:
        assert next(pieces)
        kill(stack)
        last = b"".join(pieces).decode().strip().splitlines()[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "model_died"
    gate.open()
    is_whole_again(stack, name)


@once_more_if_triton_aborts
def test_requests_without_audio_are_served_by_the_next_process(stack: Stack, name: str, gate: Gate) -> None:
    before = loads(stack)
    with ThreadPoolExecutor(2) as threads:
        names = [f"{name}-{number}" for number in range(2)]
        replies = [threads.submit(speak, stack, each, chunks=3, gate=str(gate), gate_before=1) for each in names]
        # One waits at the gate, the other in the engine's queue.
        eventually(lambda: any(f"{each} begins" in stack.script_log() for each in names), "one is being made")
        eventually(lambda: pending(stack) == 2, "the other is there")
        kill(stack)
        eventually(lambda: loads(stack) == before + 1, "the model is loaded again", SOON_S)
        gate.open()
        assert [len(reply.result().content) for reply in replies] == [3 * FRAME_BYTES] * 2
    assert loads(stack) == before + 1
    is_whole_again(stack, name)


@once_more_if_triton_aborts
def test_another_models_stream_goes_on(stack: Stack, name: str, gate: Gate) -> None:
    text = {"model": "hibari", "input": "Hello there. " * 20, "response_format": "pcm"}
    with streaming(stack, body(name, chunks=5, gate=str(gate))) as pieces:
        assert next(pieces)
        with streaming(stack, text) as others:
            kill(stack)
            assert len(b"".join(others)) > FRAME_BYTES
        with pytest.raises(httpx2.RemoteProtocolError):
            list(pieces)
    gate.open()
    is_whole_again(stack, name)


@once_more_if_triton_aborts
def test_a_model_whose_process_dies_while_it_loads_is_loaded_once_more(stack: Stack, name: str) -> None:
    assert speak(stack, name, chunks=1).status_code == 200
    before = stack.script_log().count("loads")
    load_gate = Path(stack.script) / "load-gate"
    load_gate.touch()
    try:
        kill(stack)
        with ThreadPoolExecutor(1) as threads:
            reply = threads.submit(speak, stack, f"{name}-late", chunks=3)
            eventually(lambda: stack.script_log().count("loads") == before + 1, "the model loads", SOON_S)
            [loading] = [stub for stub in stubs(stack) if not has_ended(stub) and "/scripted/" in str(stub.cmdline())]
            loading.kill()
            load_gate.unlink()
            assert len(reply.result().content) == 3 * FRAME_BYTES
    finally:
        load_gate.unlink(missing_ok=True)
    is_whole_again(stack, name)


@once_more_if_triton_aborts
def test_an_idle_models_dead_process_is_replaced_unnoticed_by_the_next_request(stack: Stack, name: str) -> None:
    assert speak(stack, name, chunks=1).status_code == 200
    kill(stack)
    assert len(speak(stack, f"{name}-late", chunks=3).content) == 3 * FRAME_BYTES
    is_whole_again(stack, name)


@once_more_if_triton_aborts
def test_a_request_without_audio_whose_gpu_fails_is_served_by_the_next_process(stack: Stack, name: str) -> None:
    assert speak(stack, name, chunks=1).status_code == 200
    before = loads(stack)
    (stack.script / "device-lost").touch()
    reply = speak(stack, name, chunks=3, lost_after=0)
    assert reply.status_code == 200
    assert len(reply.content) == 3 * FRAME_BYTES
    assert loads(stack) == before + 1
    is_whole_again(stack, name)
