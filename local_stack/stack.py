"""Starts Triton and the frontend, serves until a signal arrives, and shuts down in order."""

import asyncio
import json
import logging
import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import fields
from importlib.util import find_spec
from typing import Protocol

from pydantic import SecretStr

from local_stack.embedded import SetupError
from local_stack.ports import cannot_start, read_ports
from local_stack.triton_process import TritonProcess
from openai_frontend.observability.logs import set_up
from openai_frontend.run import NotStartedError, run
from openai_frontend.settings import Settings
from openai_frontend.startup import SettingsProblem, read_settings, warn
from openai_frontend.stop_signals import StopSignals
from speech_engines.qwen3_tts.config import EngineConfig
from speech_protocol.control import make_key
from speech_protocol.errors import SpeechError
from speech_protocol.models import ALIGNER, HIBARI, QWEN3_TTS, not_installed

# For streams in flight: a user at a terminal waits for it.
STOP_TIMEOUT_S = 1
# Messages of tritonserver on a machine without a GPU, at every start; harmless and irrelevant to the user.
_NOISE = ("CudaDriverHelper has not been initialized", "Signal (15) received")


class Output(Protocol):
    """The output of the stack's progress."""

    def say(self, text: str) -> None:
        """Print a line."""


def run_stack(screen: Output, signals: StopSignals, *, qwen: bool) -> None:
    """Returns when the stack has been stopped. Exits with one line for each problem that prevents the start."""
    ports, _ = read_ports(os.environ)
    settings = _settings(ports["TRITON_HTTP_PORT"], make_key(), qwen)
    # It is started interactively, even if its output is a file.
    set_up(settings.log_level, "text" if settings.log_format == "auto" else settings.log_format)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # this program prints its own progress
    warn(settings)
    try:
        triton = TritonProcess(
            http_port=ports["TRITON_HTTP_PORT"],
            metrics_port=ports["TRITON_METRICS_PORT"],
            on_log=_log_triton,
            control_key=settings.control_key(),
            restarts=True,
        )
        signals.then(triton.abort_start)
        with triton:
            screen.say(f"Triton is up (HTTP {triton.http_port}, metrics {triton.metrics_port})")
            try:
                if not signals.requested:
                    asyncio.run(run(settings, signals, lambda: _invite(screen, settings)))
            finally:
                signals.ignore()
    except (SetupError, NotStartedError, OSError) as error:
        if not signals.requested:
            sys.exit(cannot_start([str(error)]))
    signals.ignore()
    screen.say("stopped")


def _settings(triton_port: int, key: str, qwen: bool) -> Settings:
    problems = sorted(_problems_of_engines())
    try:
        settings = read_settings(
            default_model=os.environ.get("DEFAULT_MODEL") or ("" if qwen else HIBARI.name),
            unavailable_models=_unavailable_models(),
            triton_url=f"http://127.0.0.1:{triton_port}",
            triton_control_key=SecretStr(key),
            stop_timeout=os.environ.get("STOP_TIMEOUT") or STOP_TIMEOUT_S,
            unload_on_stop=False,  # Triton itself ends right after
        )
    except SettingsProblem as error:
        problems.extend(error.sentences)
    if problems:
        sys.exit(cannot_start(problems))
    return settings


def _unavailable_models() -> dict[str, str]:
    """`make serve` installs the embedded voice only, and Triton's models run in this environment."""
    return {} if find_spec("torch") else {spec.name: not_installed(spec.name) for spec in (*QWEN3_TTS, ALIGNER)}


def _problems_of_engines() -> Iterator[str]:
    """A sentence for each invalid setting of the engines, which would otherwise be reported when a model is loaded."""
    for name in {field.name for field in fields(EngineConfig)} - set(Settings.model_fields):
        try:
            EngineConfig.from_environment({name.upper(): os.environ.get(name.upper(), "")})
        except SpeechError as error:
            yield error.message


def _invite(screen: Output, settings: Settings) -> None:
    screen.say(f"the OpenAI API is up on port {settings.port}; the first request loads the model. Try:")
    screen.say(f"{_url(settings)}/ in a browser, or")
    screen.say(_curl_line(settings))


def _curl_line(settings: Settings) -> str:
    body = json.dumps({"model": "tts-1", "voice": "alloy", "input": "Hello! This is your own speech server."})
    key = ("-H", "Authorization: Bearer YOUR_KEY") if settings.keys() else ()
    # With the body of an error, which describes the problem.
    command = ("curl", "--fail-with-body", f"{_url(settings)}/v1/audio/speech", *key)
    line = shlex.join((*command, "-H", "Content-Type: application/json", "-d", body, "-o", "hello.mp3"))
    return f"{line} || cat hello.mp3"


def _url(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _log_triton(line: str) -> None:
    if line and not any(noise in line for noise in _NOISE):
        print(f"triton | {line}", file=sys.stderr, flush=True)
