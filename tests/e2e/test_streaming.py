"""Streaming and disconnects, verified by what the scripted engine has and has not done at a given moment."""

import base64
import contextlib
import io
import json
import socket
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_BYTES
from tests.support.listening import decode
from tests.support.stack import Gate, Stack
from tests.support.waiting import eventually

FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm", "ogg")


def body(name: str, **script: object) -> dict[str, object]:
    return {"model": "scripted", "input": json.dumps({"name": name, **script}), "response_format": "pcm"}


@contextlib.contextmanager
def http(stack: Stack) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=stack.frontend.url, timeout=60) as client:
        yield client


def ended(stack: Stack, name: str) -> list[str]:
    return [line for line in stack.script_log() if line.startswith(f"{name} ends")]


@pytest.mark.parametrize("response_format", FORMATS)
def test_audio_is_sent_while_the_model_is_still_producing(
    stack: Stack, name: str, gate: Gate, response_format: str
) -> None:
    # The engine waits before its second chunk until the gate opens. Encoders may hold back a chunk or two, so tests
    # expect the header or first frames: bytes, before the model is done.
    request = {**body(name, chunks=40, gate=str(gate)), "response_format": response_format}
    with http(stack) as client, client.stream("POST", "/v1/audio/speech", json=request) as reply:
        pieces = reply.iter_raw()
        first = next(pieces)
        assert first
        assert f"{name} chunk 2" not in stack.script_log()
        assert not ended(stack, name)
        gate.open()
        whole = first + b"".join(pieces)
    assert len(decode(whole, response_format)) == pytest.approx(40 * FRAME_SAMPLES, rel=0.05)


def pending(stack: Stack) -> int:
    return int(stack.frontend.health()["pending_requests"])


def test_a_disconnect_stops_the_engine_within_a_chunk(stack: Stack, name: str, gate: Gate) -> None:
    before = pending(stack)
    endless = body(name, gate=str(gate), gate_before=4)
    with http(stack) as client, client.stream("POST", "/v1/audio/speech", json=endless) as reply:
        pieces = reply.iter_raw()  # a name of its own: dropped, it would close the reply
        next(pieces)
        eventually(lambda: f"{name} chunk 3" in stack.script_log(), "the engine comes to the gate")
        assert not ended(stack, name)
    eventually(lambda: pending(stack) == before, "the frontend has let go of the request")
    eventually(lambda: f"{name} is cancelled" in stack.script_log(), "Triton forwards the disconnect")
    gate.open()
    eventually(lambda: ended(stack, name), "the endless request ends")
    # The chunk in progress, and no other.
    assert f"{name} chunk 5" not in stack.script_log()
    assert int(ended(stack, name)[0].rpartition(" ")[2]) <= 4


@contextlib.contextmanager
def blocked_engine(stack: Stack, name: str, gate: Gate) -> Iterator[None]:
    """The engine's worker waits at a gate in a request of this test, so that later requests wait in the queue of
    two."""
    request = body(f"{name}-gate", chunks=2, gate=str(gate))
    with http(stack) as client, client.stream("POST", "/v1/audio/speech", json=request) as reply:
        pieces = reply.iter_raw()
        next(pieces)
        try:
            yield
        finally:
            gate.open()
        assert list(pieces)


def hang_up_while_waiting(stack: Stack, request: dict[str, object]) -> None:
    """Send a request, wait until the frontend has accepted it, and disconnect before any audio."""
    payload = json.dumps(request).encode()
    before = pending(stack)
    with socket.create_connection(("127.0.0.1", stack.frontend.settings.port)) as connection:
        head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(payload)}\r\n"
        connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + payload)
        eventually(lambda: pending(stack) == before + 1, "the request is taken in")
    eventually(lambda: pending(stack) == before, "the place is free again")


def test_disconnects_in_the_queue_free_the_slots(stack: Stack, name: str, gate: Gate) -> None:
    with ThreadPoolExecutor(2) as threads:
        with blocked_engine(stack, name, gate):
            for number in (1, 2):
                hang_up_while_waiting(stack, body(f"{name}-{number}", chunks=1))
            # The engine has one free place beside theirs; if those were still taken, one of these would be refused.
            replies = [threads.submit(post, stack, body(f"{name}-{number}", chunks=3)) for number in (3, 4)]
            eventually(lambda: pending(stack) == 3, "two wait behind the gate")
        contents = [reply.result(timeout=60).content for reply in replies]
    assert [len(content) for content in contents] == [3 * FRAME_SAMPLES * SAMPLE_BYTES] * 2
    assert f"{name}-1 begins" not in stack.script_log()
    assert f"{name}-2 begins" not in stack.script_log()


def test_a_full_queue_is_an_immediate_error_with_retry_after(stack: Stack, name: str, gate: Gate) -> None:
    with ThreadPoolExecutor(8) as threads:
        with blocked_engine(stack, name, gate):
            replies = [threads.submit(post, stack, body(f"{name}-{number}", chunks=1)) for number in range(8)]
            # The gate is still closed: only a refusal can end a request now. One has the engine's other place, two
            # wait.
            eventually(lambda: sum(reply.done() for reply in replies) == 5, "all others are refused")
        statuses = sorted(reply.result(timeout=60).status_code for reply in replies)
        refused = next(reply.result() for reply in replies if reply.result().status_code == 503)
    assert statuses == [200] * 3 + [503] * 5
    assert refused.json()["error"]["code"] == "queue_full"
    assert int(refused.headers["retry-after"]) >= 1


def post(stack: Stack, request: dict[str, object]) -> httpx2.Response:
    return httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json=request, timeout=60)


def test_a_failure_after_the_first_audio_breaks_the_reply_off_and_the_next_request_works(
    stack: Stack, name: str
) -> None:
    with (
        http(stack) as client,
        pytest.raises(httpx2.RemoteProtocolError),
        client.stream("POST", "/v1/audio/speech", json=body(name, chunks=9, fail_after=3)) as reply,
    ):
        reply.read()
    with http(stack) as client:
        assert client.post("/v1/audio/speech", json=body(f"{name}-next", chunks=1)).status_code == 200


def test_a_failure_before_the_first_audio_is_a_clean_error(stack: Stack, name: str) -> None:
    with http(stack) as client:
        reply = client.post("/v1/audio/speech", json=body(name, chunks=9, fail_after=0))
    assert reply.status_code == 500
    assert reply.json()["error"]["code"] == "engine_failure"
    assert reply.json()["error"]["type"] == "server_error"


def events(reply: httpx2.Response) -> list[dict[str, object]]:
    return [json.loads(line[5:]) for line in reply.text.splitlines() if line.startswith("data:")]


@pytest.mark.parametrize("response_format", FORMATS)
def test_event_stream_deltas_concatenate_to_one_file_and_end_with_the_usage(
    stack: Stack, name: str, response_format: str
) -> None:
    request = {**body(name, chunks=20), "response_format": response_format, "stream_format": "sse"}
    with http(stack) as client:
        reply = client.post("/v1/audio/speech", json=request)
    assert reply.headers["content-type"].startswith("text/event-stream")
    *deltas, done = events(reply)
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    whole = b"".join(base64.b64decode(str(delta["audio"])) for delta in deltas)
    assert len(decode(whole, response_format)) == pytest.approx(20 * FRAME_SAMPLES, rel=0.05)
    assert done == {
        "type": "speech.audio.done",
        "finish_reason": "stop",
        "usage": {"input_tokens": 1, "output_tokens": 20, "total_tokens": 21},
    }


def test_a_failure_inside_an_event_stream_is_an_error_event(stack: Stack, name: str) -> None:
    request = {**body(name, chunks=9, fail_after=2), "stream_format": "sse"}
    with http(stack) as client:
        reply = client.post("/v1/audio/speech", json=request)
    assert "event: error" in reply.text
    assert events(reply)[-1]["error"]["code"] == "engine_failure"  # type: ignore[index]


def test_a_streamed_wav_begins_with_a_header_that_readers_accept(stack: Stack, name: str) -> None:
    with http(stack) as client:
        reply = client.post("/v1/audio/speech", json={**body(name, chunks=2), "response_format": "wav"})
    with wave.open(io.BytesIO(reply.content)) as header:
        assert (header.getnchannels(), header.getsampwidth(), header.getframerate()) == (1, 2, 24_000)
    assert len(reply.content) == 44 + 2 * FRAME_SAMPLES * SAMPLE_BYTES
