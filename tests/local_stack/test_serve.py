"""`make serve` from a user's view: a process that prints a curl line, and leaves nothing behind when it is stopped."""

import contextlib
import json
import os
import re
import shutil
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

from local_stack import stack
from local_stack.triton_process import TritonProcess, free_port
from speech_protocol.models import ALIGNER, QWEN3_TTS
from tests.support.listening import decode, transcribe
from tests.support.processes import shared_memory
from tests.support.stack import bare_environment
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
# As a person finds out that it does not start: one group of processes, which Ctrl-C reaches all at once.
RUN = ("sh", str(ROOT / "local_stack/run.sh"))
STREAM = '{"input": "%s", "response_format": "pcm"}' % ("The children are playing in the garden. " * 100)


class Serve:
    """The recipe of `make serve` on free ports, what it prints, and the processes it has."""

    def __init__(self, folder: Path, *arguments: str, python: str = sys.executable, **environment: str) -> None:
        self.port = free_port()
        ports = {"PORT": self.port, "TRITON_HTTP_PORT": free_port(), "TRITON_METRICS_PORT": free_port()}
        self.process = subprocess.Popen(
            [*RUN, python, "-m", "local_stack.serve", *arguments],
            env={
                **bare_environment(folder),
                "PYTHONPATH": str(ROOT),  # in a checkout the package is found in the working directory
                **{name: str(port) for name, port in ports.items()},
                **environment,
            },
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
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

    def wait_for(self, text: str) -> None:
        eventually(lambda: text in self.output() or self.process.poll() is not None, f"'{text}' is printed", 60)
        assert text in self.output(), self.output()

    def curl_line(self) -> str:
        self.wait_for("hello.mp3")
        found = re.search(r"curl .*", self.output())
        assert found is not None, self.output()
        return found[0]

    def curl(self, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run the printed line, as a user would."""
        return subprocess.run(
            self.curl_line(), shell=True, cwd=folder, check=False, timeout=120, capture_output=True, text=True
        )

    def message(self, path: str) -> str:
        """What /health or /ready says in words."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=10) as reply:
            return str(json.load(reply)["message"])

    def interrupt(self) -> None:
        """Ctrl-C: SIGINT to the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)

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
    assert serve.curl(tmp_path).returncode == 0
    heard = transcribe(decode((tmp_path / "hello.mp3").read_bytes(), "mp3"))
    assert "speech" in heard
    assert "server" in heard
    processes = serve.descendants()
    assert len(processes) >= 3  # Python, tritonserver and the model's stub
    shared = shared_memory(processes)
    assert shared
    serve.process.send_signal(number)
    assert serve.wait() == 0
    eventually(lambda: not [process for process in processes if process.is_running()], "every process has ended")
    assert not [path for path in shared if path.exists()]
    check_that_it_stopped_in_order(serve)


# If in its life it is interrupted: after this was printed, and then, with "stream", in the middle of a long reply.
@pytest.mark.parametrize("moment", ["", "starting", "Triton is up", "hello.mp3", "loading hibari", "stream"])
def test_ctrl_c_at_any_moment_is_a_line_and_an_end_in_order(tmp_path: Path, moment: str) -> None:
    serve = Serve(tmp_path)
    client = None
    try:
        if moment in ("loading hibari", "stream"):
            serve.wait_for("hello.mp3")
            url = f"http://127.0.0.1:{serve.port}/v1/audio/speech"
            # The client reads no faster than playback, so the stream is still in progress.
            command = ["curl", "--silent", "--no-buffer", "--limit-rate", "48000", url, "--data", STREAM]
            command += ["--header", "Content-Type: application/json", "--output", str(tmp_path / "pcm")]
            client = subprocess.Popen(command)
        if moment == "stream":
            eventually((tmp_path / "pcm").exists, "audio is received")
        else:
            eventually(lambda: serve.descendants() or serve.process.poll() is not None, "Python is started")
            serve.wait_for(moment)
        serve.interrupt()
        status = serve.wait()
    finally:
        serve.interrupt()
        if client is not None:
            client.kill()
            client.wait()
    # 130 if Python had not begun to run our program.
    assert status in ((0, 130) if moment in ("", "starting") else (0,)), serve.output()
    check_that_it_stopped_in_order(serve)


def check_that_it_stopped_in_order(serve: Serve) -> None:
    output = serve.output()
    assert output.count("stopping") == 1, output
    assert "Traceback" not in output
    # What came before is not about the stop: tritonserver may have crashed, and been restarted.
    after = output.partition("stopping")[2]
    assert not re.search(r"Error|ERROR|WARNING|triton [|]|Signal \(11\)", after), after


def test_a_checkout_with_a_name_that_a_shell_takes_apart_speaks(tmp_path: Path) -> None:
    """The programs, the Python, the folder for temporary files: all are in it."""
    folder = tmp_path / "my 'server' (cöpy) $HOME & \"more\""
    for part in ("local_stack", "model_repository", "openai_frontend", "speech_*", "triton_supervisor"):
        for source in ROOT.glob(part):
            shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "venv").symlink_to(sys.prefix)
    (folder / "tmp").mkdir()
    serve = Serve(folder, python=str(folder / "venv/bin/python"), PYTHONPATH=str(folder), TMPDIR=str(folder / "tmp"))
    try:
        done = serve.curl(folder)
        assert done.returncode == 0, serve.output()
        assert "speech" in transcribe(decode((folder / "hello.mp3").read_bytes(), "mp3"))
    finally:
        serve.interrupt()
        assert serve.wait() == 0
    check_that_it_stopped_in_order(serve)


def test_when_it_is_killed_outright_triton_does_not_outlive_it(serve: Serve, tmp_path: Path) -> None:
    assert serve.curl(tmp_path).returncode == 0
    processes = serve.descendants()
    assert len(processes) >= 3  # Python, tritonserver and the model's stub
    processes[0].kill()
    eventually(lambda: not [process for process in processes if process.is_running()], "every process has ended")


def test_every_taken_port_is_one_clear_line_before_anything_else(tmp_path: Path) -> None:
    with socket.socket() as one, socket.socket() as other:
        for listener in (one, other):
            listener.bind(("127.0.0.1", 0))
            listener.listen()
        first, second = (str(listener.getsockname()[1]) for listener in (one, other))
        taken = {"PORT": first, "TRITON_HTTP_PORT": second, "TRITON_METRICS_PORT": second}
        serve = Serve(tmp_path, **taken, IDLE_TIMEOUT="soon")
        assert serve.wait() == 1
        # As `make` asks before it installs anything.
        asked = [*RUN, sys.executable, str(ROOT / "local_stack/ports.py")]
        before = subprocess.run(asked, env={**bare_environment(tmp_path), **taken}, capture_output=True, text=True)
    for output in (serve.output(), before.stderr):
        assert f"127.0.0.1:{first} cannot be used (Address already in use). Set PORT to another port" in output
        assert f"127.0.0.1:{second} cannot be used (Address already in use). Set TRITON_HTTP_PORT to" in output
        assert f"TRITON_METRICS_PORT and TRITON_HTTP_PORT are both {second}" in output
        assert output.count("Cannot start") == 3
        assert "Traceback" not in output
    assert before.returncode == 1


def test_invalid_settings_of_the_frontend_and_of_the_engines_are_reported_together(tmp_path: Path) -> None:
    serve = Serve(tmp_path, IDLE_TIMEOUT="soon", DEFAULT_VOICE="nobody", DTYPE="float17", MAX_BATCH="0")
    assert serve.wait() == 1
    lines = [line for line in serve.output().splitlines() if line.startswith("Cannot start: ")]
    assert [line.split()[2] for line in lines] == ["DTYPE", "MAX_BATCH", "IDLE_TIMEOUT", "DEFAULT_VOICE"]
    assert "Traceback" not in serve.output()


def test_qwen_without_a_checkpoint_says_what_to_do_in_the_log_and_to_the_client(tmp_path: Path) -> None:
    serve = Serve(tmp_path, "--qwen")
    try:
        serve.wait_for("hello.mp3")
        assert "The weights of Qwen/Qwen3-TTS-12Hz-0.6B-CustomVoice are not on this machine." in serve.message("health")
        done = serve.curl(tmp_path)
        assert "checkpoint_unavailable" in done.stdout
        assert "MODEL_ID" in done.stdout
        for path in ("health", "ready"):
            assert serve.message(path).startswith("The last load of 'qwen3_tts_custom_voice' failed: Qwen/Qwen3-TTS-")
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
    assert sum("restarting it" in line for line in triton.log) == 2


def is_live(triton: TritonProcess) -> bool:
    try:
        urllib.request.urlopen(f"{triton.url}/v2/health/live", timeout=5).close()
    except OSError:
        return False
    return True


def test_models_that_are_not_installed_are_known_at_startup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "find_spec", lambda name: None)
    unavailable = stack._unavailable_models()
    assert unavailable.keys() == {spec.name for spec in (*QWEN3_TTS, ALIGNER)}
    assert all("make serve-qwen" in reason for reason in unavailable.values())
    monkeypatch.setattr(stack, "find_spec", lambda name: object())
    assert stack._unavailable_models() == {}
