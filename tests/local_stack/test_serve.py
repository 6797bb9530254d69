"""`make serve` as a user meets it: a process that prints a curl line, and leaves nothing behind when it is stopped."""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local_stack import serve as serving
from local_stack.triton_process import TritonProcess, free_port
from speech_protocol.models import QWEN3_TTS
from tests.support.listening import decode, transcribe
from tests.support.processes import shared_memory
from tests.support.stack import bare_environment
from tests.support.waiting import eventually


class Serve:
    """`python -m local_stack.serve` on free ports, what it prints, and the processes it has."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.port = free_port()
        ports = {"PORT": self.port, "TRITON_HTTP_PORT": free_port(), "TRITON_METRICS_PORT": free_port()}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "local_stack.serve", *arguments],
            env={**bare_environment(folder), **{name: str(port) for name, port in ports.items()}, **environment},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            self.lines.extend(iter(output.readline, ""))

    def output(self) -> str:
        return "".join(self.lines)

    def curl_line(self) -> str:
        eventually(lambda: "curl -f " in self.output() or self.process.poll() is not None, "the curl line is printed")
        found = re.search(r"curl -f .*", self.output())
        assert found is not None, self.output()
        return found[0]

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def wait(self) -> int:
        status = self.process.wait(timeout=60)
        self._reader.join(timeout=10)
        return status


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    running = Serve(tmp_path)
    yield running
    with contextlib.suppress(ProcessLookupError):
        running.process.send_signal(signal.SIGTERM)
    running.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_the_printed_curl_line_makes_speech_and_stopping_leaves_nothing_behind(
    serve: Serve, tmp_path: Path, number: signal.Signals
) -> None:
    subprocess.run(shlex.split(serve.curl_line()), cwd=tmp_path, check=True, timeout=60, capture_output=True)
    heard = transcribe(decode((tmp_path / "hello.mp3").read_bytes(), "mp3"))
    assert "speech" in heard
    assert "server" in heard
    processes = serve.descendants()
    assert len(processes) >= 2  # tritonserver and the model's stub
    shared = shared_memory(processes)
    assert shared
    serve.process.send_signal(number)
    assert serve.wait() == 0
    assert "stopped" in serve.output()
    eventually(lambda: not [process for process in processes if process.is_running()], "every process has ended")
    assert not [path for path in shared if path.exists()]
    assert "Traceback" not in serve.output()


def test_when_it_is_killed_outright_triton_does_not_outlive_it(serve: Serve, tmp_path: Path) -> None:
    subprocess.run(shlex.split(serve.curl_line()), cwd=tmp_path, check=True, timeout=60, capture_output=True)
    processes = serve.descendants()
    assert len(processes) >= 2  # tritonserver and the model's stub
    serve.process.kill()
    eventually(lambda: not [process for process in processes if process.is_running()], "every process has ended")


def test_a_taken_port_is_one_clear_line_that_names_the_variable(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        serve = Serve(tmp_path, PORT=str(listener.getsockname()[1]))
        assert serve.wait() == 1
    assert "Set PORT to another port" in serve.output()
    assert "Traceback" not in serve.output()


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    serve = Serve(tmp_path, IDLE_TIMEOUT="soon")
    assert serve.wait() == 1
    assert "idle_timeout" in serve.output()
    assert "Traceback" not in serve.output()


def test_qwen_without_a_checkpoint_says_what_to_do_in_the_log_and_to_the_client(tmp_path: Path) -> None:
    serve = Serve(tmp_path, "--qwen")
    try:
        command = [*shlex.split(serve.curl_line().replace("curl -f", "curl")), "--silent"]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
        reply = (tmp_path / "hello.mp3").read_text()
        assert "checkpoint_unavailable" in reply
        assert "MODEL_ID" in reply
    finally:
        serve.process.send_signal(signal.SIGTERM)
        serve.wait()
    log = serve.output()
    assert log.count("MODEL_ID") >= 1
    assert "Traceback" not in log
    assert "File " not in log


def test_a_triton_that_cannot_start_says_why() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        triton = TritonProcess(http_port=listener.getsockname()[1])
        with pytest.raises(Exception, match="tritonserver did not start"), triton:
            pass


def test_a_triton_that_ends_by_itself_is_started_again_on_its_port_and_stays_down_when_it_is_stopped() -> None:
    with TritonProcess(restarts=True) as triton:
        pids = {triton.pid}
        for times in (2, 3):
            os.kill(triton.pid, signal.SIGABRT)
            eventually(lambda: triton.pid not in pids and is_live(triton), "it is there again")
            pids.add(triton.pid)
            assert len(pids) == times
    assert not is_live(triton)
    assert sum("starting it again" in line for line in triton.log) == 2


def is_live(triton: TritonProcess) -> bool:
    try:
        urllib.request.urlopen(f"{triton.url}/v2/health/live", timeout=5).close()
    except OSError:
        return False
    return True


def test_models_that_are_not_installed_are_told_apart_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    unavailable = serving._unavailable_models()
    assert unavailable.keys() == {spec.name for spec in QWEN3_TTS}
    assert all("make serve-qwen" in reason for reason in unavailable.values())
    monkeypatch.setattr(serving, "find_spec", lambda name: object())
    assert serving._unavailable_models() == {}
