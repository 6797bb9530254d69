"""SIGTERM to a frontend in its own process: new connections are refused, streams finish, its models are unloaded."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil
import pytest

from local_stack.triton_process import free_port
from tests.faults.test_stub import FRAME_BYTES, SOON_S, body
from tests.support.processes import stubs
from tests.support.stack import Gate, Stack, bare_environment
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Only its Triton is used."""
    with Stack(tmp_path_factory.mktemp("stop"), idle_timeout=0) as running:
        yield running


@contextmanager
def frontend(stack: Stack, folder: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`python -m openai_frontend`, and where it answers."""
    port = free_port()
    own = {"PORT": str(port), "TRITON_URL": stack.triton.url, "MODEL_NAMES": json.dumps({"scripted": "scripted"})}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "openai_frontend"],
            env={**bare_environment(folder), **own, "VOICES_FOLDER": str(folder / "voices"), **settings},
            stderr=log,
        )
    try:
        eventually(lambda: answers(f"http://127.0.0.1:{port}/ready"), "it serves")
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
    # A stop is not a fault, whatever is cut off.
    assert "Traceback" not in (folder / "log").read_text()


def answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=SOON_S).status_code == 200
    except httpx2.TransportError:
        return False


def test_streams_are_finished_new_connections_refused_and_the_models_unloaded(
    stack: Stack, tmp_path: Path, name: str, gate: Gate
) -> None:
    with (
        frontend(stack, tmp_path) as (process, url),
        httpx2.Client(timeout=SOON_S) as client,
        client.stream("POST", f"{url}/v1/audio/speech", json=body(name, chunks=5, gate=str(gate))) as reply,
    ):
        pieces = reply.iter_raw()
        begun = next(pieces)
        assert len(stubs(stack)) == 1
        process.send_signal(signal.SIGTERM)
        eventually(lambda: not answers(f"{url}/live"), "new connections are refused")
        gate.open()
        assert len(begun + b"".join(pieces)) == 5 * FRAME_BYTES
        assert process.wait(SOON_S) == 0
    eventually(lambda: not stubs(stack), "the model is unloaded")


@pytest.mark.parametrize("signals", [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGINT, signal.SIGINT)])
def test_a_stream_that_does_not_end_is_cut_off_after_the_limit_or_by_a_second_signal(
    stack: Stack, tmp_path: Path, name: str, gate: Gate, signals: tuple[signal.Signals, ...]
) -> None:
    limit_s = "1" if len(signals) == 1 else "600"
    with (
        frontend(stack, tmp_path, STOP_TIMEOUT=limit_s) as (process, url),
        httpx2.Client(timeout=SOON_S) as client,
        client.stream("POST", f"{url}/v1/audio/speech", json=body(name, chunks=5, gate=str(gate))) as reply,
    ):
        pieces = reply.iter_raw()
        next(pieces)
        for number in signals:
            process.send_signal(number)
            eventually(lambda: not answers(f"{url}/live"), "new connections are refused")
        with pytest.raises(httpx2.RemoteProtocolError):
            list(pieces)
        assert process.wait(SOON_S) == 0
        gate.open()
    eventually(lambda: not stubs(stack), "the model is unloaded")
    assert any(line.startswith(f"{name} ends") for line in stack.script_log())


def test_a_frontend_beside_others_leaves_the_models_alone(stack: Stack, tmp_path: Path, name: str) -> None:
    with frontend(stack, tmp_path, UNLOAD_ON_STOP="false") as (process, url):
        assert httpx2.post(f"{url}/v1/audio/speech", json=body(name, chunks=1), timeout=SOON_S).status_code == 200
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON_S) == 0
        assert not [child for child in children if child.is_running()]
    assert len(stubs(stack)) == 1


def test_no_signal_leaves_the_process_of_the_decoder_behind(stack: Stack, tmp_path: Path) -> None:
    with frontend(stack, tmp_path) as (process, url):
        files = {"audio_sample": ("a.wav", b"no audio"), "name": (None, "Eve")}
        assert httpx2.post(f"{url}/v1/audio/voices", files=files, timeout=SOON_S).status_code == 400
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) == 1
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        eventually(lambda: not [child for child in children if child.is_running()], "the decoder ends with it")
