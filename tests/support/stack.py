"""A whole stack for tests: a real tritonserver and the frontend on a real socket."""

import json
import threading
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import openai
import uvicorn

from local_stack.triton_process import REPOSITORY, TritonProcess, free_port
from openai_frontend.app import create_app
from openai_frontend.settings import Settings
from tests.support.waiting import eventually

SCRIPTED_REPOSITORY = Path(__file__).parent / "model_repository"


class Frontend:
    """The frontend in a thread of this process, listening on a free port of loopback."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(port=free_port(), **settings)
        config = uvicorn.Config(create_app(self.settings), port=self.settings.port, log_level="warning", lifespan="on")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="frontend", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    def openai(self, **options: Any) -> openai.OpenAI:
        """The real client, without its retries, so that a test sees each reply."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="unused", max_retries=0, timeout=60.0, **options)

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/health", timeout=10) as reply:
            return dict(json.load(reply))

    def model_state(self, model: str) -> str:
        return str(self.health()["models"][model]["state"])

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(lambda: self._server.started or not self._thread.is_alive(), "the frontend starts")
        assert self._server.started
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=30)
        assert not self._thread.is_alive(), "the frontend did not stop"


class Stack:
    """Triton with our models and the scripted one, and a frontend before it. `environment` is for the models."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None, **settings: Any) -> None:
        self.script = folder
        self.triton = TritonProcess(
            (REPOSITORY, SCRIPTED_REPOSITORY), environment={**(environment or {}), "SCRIPT_FOLDER": str(folder)}
        )
        names = {"scripted": "scripted", **settings.pop("model_names", {})}
        self.frontend = Frontend(triton_url=self.triton.url, model_names=names, **settings)

    def __enter__(self) -> Self:
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
