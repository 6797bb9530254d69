"""A tritonserver process: started, monitored, and stopped together with everything it leaves behind."""

import compileall
import contextlib
import ctypes
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from local_stack.embedded import WITHOUT_GPU, SetupError, find_embedded_triton
from local_stack.folders import FolderLock, remove_abandoned
from speech_protocol.control import HEADER, RESTRICTED, headers
from triton_supervisor.client import TritonClient
from triton_supervisor.repository import has_process
from triton_supervisor.watch import Watch

REPOSITORY = Path(__file__).resolve().parent.parent / "model_repository"
START_TIMEOUT_S = 30.0
# Time-outs of a stop: for unloading the models, and then for the end of the process. After either, it is killed.
UNLOAD_TIMEOUT_S = 2.0
STOP_TIMEOUT_S = 1.5
EXIT_TIMEOUT_S = 1  # Triton's own --exit-timeout-secs, for streams in flight
# More than the number of models: a model waiting for a thread is LOADING without a process.
LOAD_THREADS = 16
_PRESENT = frozenset({"READY", "LOADING", "UNLOADING"})
# Triton starts a model's process with `bash -c`, with the model's path unquoted in the command.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./-]*")
# After a run of this length the server is restarted immediately, else after a pause that doubles up to the longest.
_STEADY_S = 60.0
_MAX_PAUSE_S = 30.0
_PR_SET_PDEATHSIG = 1
_PREFIX = "speech-triton-"
# Below the ports that Linux assigns to outgoing connections.
_PORTS = range(20_000, 32_000)
_PORT_TRIES = 100
_latest_ports: deque[int] = deque(maxlen=100)  # given out, and perhaps not in use yet
# The proxy variables of a shell are not about loopback.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class TritonProcess:
    """A tritonserver on loopback over copies of model repositories, in explicit model-control mode.

    Use it as a context manager. `environment` is added to the server's own (its models read their settings there).
    `on_log` receives each line that the server and its models write, in a separate thread. With a `control_key`, only
    clients with that key can load and unload models. With `restarts`, a server that ends by itself or has to be killed
    (see `triton_supervisor.watch`) is restarted on its ports: in about one of a hundred cases, tritonserver aborts when
    a model's process is killed.
    """

    def __init__(
        self,
        repositories: tuple[Path, ...] = (REPOSITORY,),
        *,
        http_port: int = 0,
        metrics_port: int = 0,
        environment: Mapping[str, str] | None = None,
        on_log: Callable[[str], None] | None = None,
        exit_timeout_s: int = EXIT_TIMEOUT_S,
        control_key: str = "",
        restarts: bool = False,
    ) -> None:
        self.http_port = http_port or free_port()
        self.metrics_port = metrics_port or free_port()
        self.log: deque[str] = deque(maxlen=500)
        self._repositories = repositories
        self._environment = dict(environment or {})
        self._on_log = on_log
        self._exit_timeout_s = exit_timeout_s
        self._control_key = control_key
        self._restarts = restarts
        _remove_abandoned()
        self._folder = _plain_folder(_PREFIX)
        self._lock = FolderLock(self._folder)
        # A unique prefix, so that files of a killed stub in /dev/shm can be identified.
        self._shm_prefix = f"{self._folder.name}-"
        self._process: subprocess.Popen[str] | None = None
        self._command: list[str] = []
        self._changing = threading.Lock()
        self._stopped = threading.Event()

    @property
    def url(self) -> str:
        """The URL of the HTTP API."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def _metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    @property
    def pid(self) -> int:
        """The id of the current process."""
        assert self._process is not None
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until the server is live. Raises SetupError with its last lines if the start fails."""
        triton = find_embedded_triton()
        self._environment = {**triton.make_environment(self._folder / "python"), **self._environment}
        self._command = [str(triton.binary), *self._arguments(triton.make_backend_directory(self._folder / "backends"))]
        process = self._launch()
        self._wait_until_live(process)
        if self._restarts:
            # PR_SET_PDEATHSIG refers to the thread that started a process, not to its parent process; this thread
            # stays.
            threading.Thread(target=self._keep_running, args=(process,), name="triton-restarts", daemon=True).start()
            client = TritonClient(self.url, self._metrics_url, headers(self._control_key))
            pid = lambda: self.pid if self.is_running() else None  # noqa: E731
            watch = Watch(client, pid, has_process=has_process(self._command))
            threading.Thread(target=watch.run, args=(self._stopped,), name="triton-watch", daemon=True).start()

    def _launch(self) -> subprocess.Popen[str]:
        with self._changing:
            if self._stopped.is_set():
                raise SetupError("The server was stopped.")
            self._process = process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C on the terminal is for this process, which stops the server in order
                preexec_fn=_die_with_parent,
            )
        threading.Thread(target=self._read_log, args=(process,), name="triton-log", daemon=True).start()
        return process

    def _keep_running(self, process: subprocess.Popen[str]) -> None:
        pause_s = 0.0
        while True:
            begin_s = time.monotonic()
            status = process.wait()
            if time.monotonic() - begin_s > _STEADY_S:
                pause_s = 0.0
            if self._stopped.wait(pause_s):
                return
            self._log(f"tritonserver ended with status {status}; restarting it")
            pause_s = min(max(2 * pause_s, 0.5), _MAX_PAUSE_S)
            self._clear(process)
            try:
                process = self._launch()
            except SetupError:
                return

    def _log(self, line: str) -> None:
        self.log.append(line)
        # A tritonserver that is being stopped may crash. Its stack trace helps nobody.
        if self._on_log is not None and not self._stopped.is_set():
            self._on_log(line)

    def abort_start(self) -> None:
        """Make a `start` in progress, on another frame of this thread or on another thread, raise SetupError."""
        self._stopped.set()

    def stop(self) -> None:
        """Unload the models, end the process and its stubs, remove its files; takes a few seconds at most.
        Idempotent."""
        self._stopped.set()
        with self._changing:
            process = self._process
        if process is not None:
            # A tritonserver that is ended during synthesis may crash; one without models ends in order. A load holds
            # nothing that a kill could lose.
            if process.poll() is None and self._unload_models():
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_TIMEOUT_S)
            self._clear(process)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.release()

    def _unload_models(self) -> bool:
        """False if a model is being loaded, which cannot be cancelled, or has a process after UNLOAD_TIMEOUT_S."""
        deadline_s = time.monotonic() + UNLOAD_TIMEOUT_S
        asked: set[str] = set()
        try:
            while present := self._present_models():
                if "LOADING" in present.values() or time.monotonic() > deadline_s:
                    return False
                for name in present.keys() - asked:
                    self._post(f"/v2/repository/models/{name}/unload")
                asked |= present.keys()
                time.sleep(0.02)
        except TimeoutError:
            return False
        except OSError:
            pass  # it does not serve yet, and so has no models
        return True

    def _present_models(self) -> dict[str, str]:
        """The states of the models that have a process."""
        rows = json.loads(self._post("/v2/repository/index"))
        return {row["name"]: row["state"] for row in rows if row.get("state") in _PRESENT}

    def _post(self, path: str) -> bytes:
        """Raises OSError if Triton refuses or does not answer."""
        request = urllib.request.Request(self.url + path, b"{}", headers(self._control_key))
        with _DIRECT.open(request, timeout=UNLOAD_TIMEOUT_S) as reply:
            return bytes(reply.read())

    def _clear(self, process: subprocess.Popen[str]) -> None:
        """Remove what a server leaves behind if it does not end in order."""
        # Its stubs ignore SIGTERM and would hold their memory forever.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _clear_shared_memory(self._shm_prefix)

    def _arguments(self, backends: Path) -> list[str]:
        gpu = Path("/dev/nvidiactl").exists()
        return [
            *(f"--model-repository={self._copy(source, number)}" for number, source in enumerate(self._repositories)),
            f"--backend-directory={backends}",
            f"--backend-config=python,shm-region-prefix-name={self._shm_prefix}",
            "--model-control-mode=explicit",
            "--disable-auto-complete-config",
            "--strict-readiness=false",
            f"--model-load-thread-count={LOAD_THREADS}",
            "--allow-grpc=false",
            "--http-address=127.0.0.1",
            f"--http-port={self.http_port}",
            "--metrics-address=127.0.0.1",
            f"--metrics-port={self.metrics_port}",
            f"--exit-timeout-secs={self._exit_timeout_s}",
            "--log-info=false",
            *(
                [f"--http-restricted-api={','.join(RESTRICTED)}:{HEADER}={self._control_key}"]
                if self._control_key
                else []
            ),
            *(() if gpu else WITHOUT_GPU),
        ]

    def _copy(self, source: Path, number: int) -> Path:
        """A compiled copy: if importing a model writes into its folder, Triton treats it as a changed model and loads a
        second one beside it. Its path is independent of the source's, which may contain spaces and quotes."""
        target = self._folder / f"repository-{number}"
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(target, quiet=2)
        return target

    def _read_log(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._log(line.rstrip())

    def _wait_until_live(self, process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and process.poll() is None and not self._stopped.is_set():
            with contextlib.suppress(OSError):
                _DIRECT.open(f"{self.url}/v2/health/live", timeout=1).close()
                return
            time.sleep(0.02)
        if self._stopped.is_set():
            raise SetupError("tritonserver was stopped while it started.")
        raise SetupError("tritonserver did not start:\n" + "\n".join(list(self.log)[-20:]))


def _plain_folders() -> list[str]:
    """Folders for temporary files whose paths need no quoting in a shell."""
    return [*filter(_PLAIN_PATH.fullmatch, (os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp", "/dev/shm"))]


def _plain_folder(prefix: str) -> Path:
    """A new temporary folder in the first writable one of them. Raises SetupError."""
    for folder in _plain_folders():
        with contextlib.suppress(OSError):
            return Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
    raise SetupError(
        f"No temporary files can be made in {', '.join(_plain_folders())}. Set TMPDIR to a folder that can be written, "
        "with a path of plain letters, digits, '-', '_' and '.'."
    )


def _remove_abandoned() -> None:
    """Remove the files of killed servers."""
    for folder in filter(os.path.isdir, _plain_folders()):
        for name in remove_abandoned(Path(folder), _PREFIX):
            _clear_shared_memory(f"{name}-")


def _clear_shared_memory(prefix: str) -> None:
    for leftover in Path("/dev/shm").glob(f"{prefix}*"):
        leftover.unlink(missing_ok=True)


def free_port() -> int:
    """A free TCP port on loopback, below the range for outgoing connections, which could otherwise take the port before
    it is used, and none of the latest results. Raises OSError if there is none."""
    for port in random.SystemRandom().sample(_PORTS, _PORT_TRIES):
        with socket.socket() as listener, contextlib.suppress(OSError):
            if port not in _latest_ports:
                listener.bind(("127.0.0.1", port))
                _latest_ports.append(port)
                return port
    raise OSError(f"no free port from {_PORTS.start} to {_PORTS.stop - 1}")


def _die_with_parent() -> None:
    """In the child: request SIGTERM when the parent process ends without cleaning up (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
