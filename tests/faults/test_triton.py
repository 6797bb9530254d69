"""Triton is unreachable: from the start, later, during a stream; and returns."""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from local_stack import triton_process
from local_stack.triton_process import REPOSITORY, TritonProcess, free_port
from speech_protocol.audio import SAMPLE_BYTES
from tests.faults.test_stub import FRAME_BYTES, SOON_S, body, pending, speak, streaming
from tests.support.replies import check
from tests.support.stack import SCRIPTED_REPOSITORY, Frontend, Gate, Stack
from tests.support.waiting import eventually


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Stack]:
    """A stack whose Triton the test may kill, and which starts it again."""
    with Stack(tmp_path, default_model="hibari", idle_timeout=0, request_timeout=100) as running:
        yield running


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Stack]:
    """A stack whose Triton is not restarted, and whose frontend does not wait for it."""
    settings = {"default_model": "hibari", "idle_timeout": 0, "request_timeout": 100, "restart_timeout": 0}
    with Stack(tmp_path, restarts=False, **settings) as running:
        yield running


def kill(stack: Stack) -> None:
    os.kill(stack.triton.pid, signal.SIGKILL)


def start_again(stack: Stack) -> None:
    """On the same port; files of the killed one are removed."""
    port, script = stack.triton.http_port, str(stack.script)
    stack.triton.stop()
    stack.triton = TritonProcess(
        (REPOSITORY, SCRIPTED_REPOSITORY), http_port=port, environment={"SCRIPT_FOLDER": script}
    )
    stack.triton.start()


def test_a_stream_ends_at_once_when_triton_is_killed_and_all_is_well_after_its_restart(
    impatient: Stack, name: str, gate: Gate
) -> None:
    with streaming(impatient, body(name, chunks=5, gate=str(gate))) as pieces:
        assert next(pieces)
        kill(impatient)
        with pytest.raises(httpx2.RemoteProtocolError):
            list(pieces)
    gate.open()
    reply = speak(impatient, f"{name}-down", chunks=1)
    check(reply, 503, None, "model_unavailable")
    assert int(reply.headers["retry-after"]) > 0
    assert [status(impatient, path) for path in ("/live", "/ready", "/health")] == [200, 503, 503]
    start_again(impatient)
    assert [status(impatient, path) for path in ("/live", "/ready", "/health")] == [200] * 3
    assert len(speak(impatient, f"{name}-up", chunks=3).content) == 3 * FRAME_BYTES
    eventually(lambda: pending(impatient) == 0, "no request is left")


def status(stack: Stack, path: str) -> int:
    """Processes of the killed one may hold its port, and answer nothing."""
    return httpx2.get(stack.frontend.url + path, timeout=SOON_S).status_code


def test_requests_that_need_not_wait_for_a_restart_fail_at_once(impatient: Stack, name: str, gate: Gate) -> None:
    with ThreadPoolExecutor(1) as threads:
        reply = threads.submit(speak, impatient, name, chunks=3, gate=str(gate), gate_before=1)
        eventually(lambda: f"{name} begins" in impatient.script_log(), "the engine works on it")
        kill(impatient)
        check(reply.result(SOON_S), 503, None, "model_unavailable")
    gate.open()


def test_requests_without_audio_are_served_after_tritons_restart(mortal: Stack, name: str, gate: Gate) -> None:
    with ThreadPoolExecutor(3) as threads:
        names = [f"{name}-{number}" for number in range(2)]
        replies = [threads.submit(speak, mortal, each, chunks=3, gate=str(gate), gate_before=1) for each in names]
        eventually(lambda: any(f"{each} begins" in mortal.script_log() for each in names), "one is being made")
        eventually(lambda: pending(mortal) == 2, "the other is there")
        kill(mortal)
        # While Triton is away, one more comes.
        replies.append(threads.submit(speak, mortal, f"{name}-late", chunks=3))
        eventually(lambda: mortal.script_log().count("loaded") == 2, "the model is loaded again", SOON_S)
        gate.open()
        assert [len(reply.result(SOON_S).content) for reply in replies] == [3 * FRAME_BYTES] * 3
    eventually(lambda: pending(mortal) == 0, "no request is left")


def test_a_stop_does_not_wait_for_a_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_process, "UNLOAD_TIMEOUT_S", 2 * SOON_S)
    (tmp_path / "load-gate").touch()  # it does not end
    triton = TritonProcess((SCRIPTED_REPOSITORY,), environment={"SCRIPT_FOLDER": str(tmp_path)})
    triton.start()
    with ThreadPoolExecutor(2) as threads:
        load = threads.submit(httpx2.post, f"{triton.url}/v2/repository/models/scripted/load", timeout=3 * SOON_S)
        log = tmp_path / "log"
        eventually(lambda: log.exists() and "loads" in log.read_text(), "the model loads", SOON_S)
        threads.submit(triton.stop).result(SOON_S)
        with pytest.raises(httpx2.TransportError):
            load.result(SOON_S)


def test_a_frontend_that_starts_before_its_triton_serves_as_soon_as_that_is_there(tmp_path: Path) -> None:
    port = free_port()
    with Frontend(triton_url=f"http://127.0.0.1:{port}", default_model="hibari") as frontend:
        request = {"input": "Hello.", "response_format": "pcm"}
        url = f"{frontend.url}/v1/audio/speech"
        check(httpx2.post(url, json=request, timeout=SOON_S), 503, None, "model_unavailable")
        assert httpx2.get(f"{frontend.url}/health").status_code == 503
        with TritonProcess(http_port=port):
            reply = httpx2.post(url, json=request, timeout=SOON_S)
            assert reply.status_code == 200
            assert len(reply.content) > 1000 * SAMPLE_BYTES


def test_two_frontends_on_one_triton_share_its_models(mortal: Stack, name: str) -> None:
    with Frontend(triton_url=mortal.triton.url, model_names={"scripted": "scripted"}, idle_timeout=0) as other:
        before = mortal.script_log().count("loaded")
        request = {"model": "scripted", "response_format": "pcm"}
        urls = [mortal.frontend.url, other.url] * 2
        with ThreadPoolExecutor(4) as threads:
            texts = [json.dumps({"name": f"{name}-{number}", "chunks": 2}) for number in range(4)]
            replies = list(
                threads.map(
                    lambda url, text: httpx2.post(
                        f"{url}/v1/audio/speech", json={**request, "input": text}, timeout=SOON_S
                    ),
                    urls,
                    texts,
                )
            )
        assert {reply.status_code for reply in replies} == {200}
        assert mortal.script_log().count("loaded") == before + 1
