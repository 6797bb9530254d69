"""A whole stack for tests: a real tritonserver and the frontend on a real socket."""

import asyncio
import dataclasses
import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self
from unittest import mock

import openai
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from local_stack.triton_process import REPOSITORY, TritonProcess, free_port
from openai_frontend.server import Server
from openai_frontend.settings import Settings
from openai_frontend.transport.connections import Phase
from speech_engines.qwen3_tts.config import EngineConfig
from speech_protocol.models import QWEN3_TTS
from tests.support.types import CheckpointOf
from tests.support.waiting import eventually

SCRIPTED_REPOSITORY = Path(__file__).parent / "model_repository"
_OURS: Final = {*Settings.model_fields, *(field.name for field in dataclasses.fields(EngineConfig))}
_OF_THE_HUB: Final = ("HF_", "HUGGINGFACE_", "TRANSFORMERS_")


def bare_environment(folder: Path) -> dict[str, str]:
    """This process's environment without anything that sets our server up, and a hub that is off and empty."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.lower() not in _OURS and not name.upper().startswith(_OF_THE_HUB)
    }
    return {**kept, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub")}


class GivenSettings(Settings):
    """Settings with the test's values and defaults only, independent of the environment."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


class Gate:
    """A point at which a request to the scripted engine waits (`gate` in its text) until the gate is opened.

    Use it as a context manager: the engine is released however a test ends.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "gate"

    def __enter__(self) -> Self:
        self.close()
        return self

    def __exit__(self, *_: object) -> None:
        self.open()

    def __str__(self) -> str:
        return str(self._path)

    def close(self) -> None:
        """Idempotent."""
        self._path.touch()

    def open(self) -> None:
        """Never waits; idempotent."""
        self._path.unlink(missing_ok=True)


class Frontend:
    """The frontend in a thread of this process, listening on a free port of loopback."""

    def __init__(self, **settings: Any) -> None:
        self.settings = GivenSettings(**{"port": free_port(), "stop_timeout": 5, "unload_on_stop": False, **settings})
        self._server = Server(self.settings)
        self._thread = threading.Thread(target=self._run, name="frontend", daemon=True)
        self._clients: list[openai.OpenAI] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    def connections(self, phase: Phase) -> int:
        """How many are in a phase now; asks without a connection of its own."""
        return self._server.connections.count(phase)

    def metric(self, name: str) -> float:
        """The value of a metric, `name` with its labels as they are exposed."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=60) as reply:
            lines = reply.read().decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))

    def _run(self) -> None:
        asyncio.run(self._server.run_until_stopped())

    def openai(self, **options: Any) -> openai.OpenAI:
        """The real client, without its retries, so that a test sees each reply; closed with the frontend at last."""
        options = {"api_key": "unused", "max_retries": 0, "timeout": 60.0, **options}
        self._clients.append(openai.OpenAI(base_url=f"{self.url}/v1", **options))
        return self._clients[-1]

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/health", timeout=10) as reply:
            return dict(json.load(reply))

    def is_ready(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/ready", timeout=10).close()
        except urllib.error.HTTPError as error:
            error.close()
            return False
        return True

    def model_state(self, model: str) -> str:
        return str(self.health()["models"][model]["state"])

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(lambda: self._server.started or not self._thread.is_alive(), "the frontend starts")
        assert self._server.started
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()
        self._server.should_exit = True
        self._thread.join(timeout=30)
        assert not self._thread.is_alive(), "the frontend did not stop"


class Stack:
    """Triton with our models and the scripted one, and a frontend before it.

    Settings of the developer's shell reach neither; `environment` is for the models, which without it have no hub.
    `restarts`: a Triton that crashes is restarted.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str] | None = None, *, restarts: bool = True, **settings: Any
    ) -> None:
        self.script = folder
        self.triton = TritonProcess(
            (REPOSITORY, SCRIPTED_REPOSITORY),
            environment={**(environment or {}), "SCRIPT_FOLDER": str(folder)},
            restarts=restarts,
        )
        names = {"scripted": "scripted", **settings.pop("model_names", {})}
        settings = {"voices_folder": str(folder / "voices"), **settings}
        self.frontend = Frontend(triton_url=self.triton.url, model_names=names, **settings)

    def __enter__(self) -> Self:
        with mock.patch.dict(os.environ, bare_environment(self.script), clear=True):
            self.triton.__enter__()
        try:
            self.frontend.__enter__()
        except BaseException:
            self.triton.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.frontend.__exit__()
        finally:
            self.triton.stop()

    def script_log(self) -> list[str]:
        """What the scripted engine has written so far."""
        log = self.script / "log"
        return log.read_text().splitlines() if log.exists() else []


def qwen_stack(folder: Path, tiny_checkpoint: CheckpointOf, aligner: str = "", **settings: Any) -> Stack:
    """A stack whose Qwen3-TTS models serve tiny checkpoints and are never unloaded, with no hub in reach."""
    checkpoints = {spec.checkpoint_variable: str(tiny_checkpoint(str(spec.task))) for spec in QWEN3_TTS}
    environment = {**checkpoints, "HF_HUB_OFFLINE": "1", "DEVICE": "cpu", "WEIGHTS": "full", "OMP_NUM_THREADS": "1"}
    environment["ALIGNER_MODEL_ID"] = aligner
    environment["RUNAWAY_GUARD"] = "off"  # random weights do nothing but hiss
    named = {variable.lower(): path for variable, path in checkpoints.items()}
    return Stack(folder, environment, idle_timeout=0, **{**named, "aligner_model_id": aligner, **settings})
