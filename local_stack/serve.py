"""`make serve` and `make serve-qwen`: Triton and the frontend on this machine, until Ctrl-C.

With the embedded voice nothing is downloaded and no GPU is needed; `--qwen` makes Qwen3-TTS the default model.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from importlib.util import find_spec
from types import FrameType
from typing import NoReturn

from pydantic import SecretStr, ValidationError
from pydantic_settings import SettingsError

from local_stack.embedded import SetupError
from local_stack.triton_process import TritonProcess
from openai_frontend.logs import set_up
from openai_frontend.server import Server, tune_interpreter
from openai_frontend.settings import Settings
from speech_protocol.control import make_key
from speech_protocol.models import HIBARI, QWEN3_TTS, not_installed

TRITON_HTTP_PORT = 8000
TRITON_METRICS_PORT = 8002
STOP_TIMEOUT_S = 3
# What tritonserver reports about a machine without a GPU at every start; harmless, and not the user's concern.
_NOISE = ("CudaDriverHelper has not been initialized", "Signal (15) received")

logger = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> None:
    """Run the stack; returns when it was stopped. Exits with one clear line where it can't start."""
    parser = argparse.ArgumentParser(prog="make serve", description=__doc__)
    parser.add_argument("--qwen", action="store_true", help="make Qwen3-TTS the default model, not the embedded voice")
    options = parser.parse_args(arguments)
    begin_s = time.perf_counter()
    _stop_like_ctrl_c(signal.SIGTERM)
    try:
        _run(options.qwen, begin_s)
    except (SetupError, SettingsError, ValidationError) as error:
        sys.exit(f"Cannot start: {error}")
    except KeyboardInterrupt:
        pass
    _say(begin_s, "stopped")


def _run(qwen: bool, begin_s: float) -> None:
    http_port = _port("TRITON_HTTP_PORT", TRITON_HTTP_PORT)
    metrics_port = _port("TRITON_METRICS_PORT", TRITON_METRICS_PORT)
    default_model = os.environ.get("DEFAULT_MODEL") or ("" if qwen else HIBARI.name)
    key = make_key()
    settings = Settings(
        default_model=default_model,
        unavailable_models=_unavailable_models(),
        triton_url=f"http://127.0.0.1:{http_port}",
        triton_control_key=SecretStr(key),
        # A person at a terminal waits for it.
        stop_timeout=int(os.environ.get("STOP_TIMEOUT") or STOP_TIMEOUT_S),
        unload_on_stop=False,  # Triton itself ends right after
    )
    # People start it, be their terminal a file.
    set_up(settings.log_level, "text" if settings.log_format == "auto" else settings.log_format)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # its progress is told in our own words
    for name, host, port in (
        ("PORT", settings.host, settings.port),
        ("TRITON_HTTP_PORT", "127.0.0.1", http_port),
        ("TRITON_METRICS_PORT", "127.0.0.1", metrics_port),
    ):
        _check_free(name, host, port)
    _say(begin_s, "starting Triton")
    triton = TritonProcess(
        http_port=http_port, metrics_port=metrics_port, on_log=_log_triton, control_key=key, restarts=True
    )
    with triton:
        _say(begin_s, f"Triton is up (HTTP {http_port}, metrics {metrics_port})")
        try:
            asyncio.run(_serve(settings, begin_s))
        finally:
            _say(begin_s, "stopping")
            # Another Ctrl-C must not leave Triton behind; its stop has a bound.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)


async def _serve(settings: Settings, begin_s: float) -> None:
    server = Server(settings)
    tune_interpreter()
    serving = asyncio.create_task(server.run_until_stopped())
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    if server.started:
        _say(begin_s, f"the OpenAI API is up on port {settings.port}; the first request loads the model. Try:")
        _say(begin_s, f"{_url(settings)}/ in a browser, or")
        _say(begin_s, _curl_line(settings))
    await serving


def _unavailable_models() -> dict[str, str]:
    """`make serve` installs the embedded voice only, and Triton's models run in this environment."""
    return {} if find_spec("torch") else {spec.name: not_installed(spec.name) for spec in QWEN3_TTS}


def _curl_line(settings: Settings) -> str:
    body = json.dumps({"model": "tts-1", "voice": "alloy", "input": "Hello! This is your own speech server."})
    key = "-H 'Authorization: Bearer YOUR_KEY' " if settings.keys() else ""
    url = f"{_url(settings)}/v1/audio/speech"
    return f"curl -f {url} {key}-H 'Content-Type: application/json' -d '{body}' -o hello.mp3"


def _url(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host == "0.0.0.0" else settings.host
    return f"http://{host}:{settings.port}"


def _port(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise SetupError(f"{name} is '{text}'; it must be a port, 1 to 65535.")
    return int(text)


def _check_free(name: str, host: str, port: int) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            host_too = ", or HOST to an address of this machine" if name == "PORT" else ""
            raise SetupError(
                f"{host}:{port} cannot be used ({error.strerror}). Set {name} to another port{host_too}."
            ) from None


def _stop_like_ctrl_c(number: signal.Signals) -> None:
    """Make `number` raise KeyboardInterrupt, so that everything is taken down in order."""

    def interrupt(_: int, __: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(number, interrupt)


def _log_triton(line: str) -> None:
    if line and not any(noise in line for noise in _NOISE):
        print(f"triton | {line}", file=sys.stderr, flush=True)


def _say(begin_s: float, text: str) -> None:
    print(f"[{time.perf_counter() - begin_s:5.1f} s] {text}", flush=True)


if __name__ == "__main__":
    main()
