"""A Triton that is an ASGI application in a thread of this process: our clients' calls, and models without weights.

It has Triton's oddities: a model whose process died (`dead`) stays READY, an unload takes time (`hold_unloads`), and
streams end without an end event when a process dies. The models' replies are in `fake_models.py`.
"""

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from local_stack.triton_process import free_port
from speech_protocol.audio import SAMPLE_BYTES
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import AudioEvent, Event, StartEvent, Word
from speech_protocol.models import ALIGNER
from tests.support.fake_models import (
    CHUNK,
    Behaviour,
    OpenTexts,
    Scripts,
    Tensors,
    end,
    failure,
    read_aloud,
    read_script,
)
from tests.support.waiting import eventually

_REASONS = {"UNAVAILABLE": "unloaded"}


class FakeTriton:
    """Serves `models` on a free port of loopback; use it as a context manager. All are unloaded at the start, unless
    `loaded`. Texts that are no script have `chunks` chunks of audio each, or with `s_per_character` a length and a
    sound of their own; `check` and `behave` may refuse them. `requests` are the tensors that came, `calls` the loads
    and unloads."""

    def __init__(self, *models: str, loaded: bool = False, s_per_character: float = 0.0) -> None:
        self.port = free_port()
        self.states = dict.fromkeys(models, "READY" if loaded else "UNAVAILABLE")
        self.calls: list[str] = []
        self.requests: list[Tensors] = []
        self.chunks = 1
        self.chunk = CHUNK
        self.s_per_character = s_per_character
        self.silent_chunks = 0  # before such a sound
        self.behave: Behaviour = lambda tensors: None
        self.check: Callable[[str, Tensors], SpeechError | None] = lambda model, tensors: None
        self.starts: dict[str, dict[str, Any]] = {}  # fields of a model's start event
        self.checkpoint = "first"
        self.hold_loads: str | None = None  # the name of a gate
        self.hold_unloads: str | None = None
        self.load_errors: dict[str, str] = {}  # what Triton says of a model that cannot be loaded
        self.dead: set[str] = set()  # until they are unloaded
        self.resets = False  # streams are cut before they begin
        self.last_inference_ms = 0
        self.index_calls = 0
        self.active = 0
        self.scripts = Scripts()
        self.open_texts = OpenTexts()
        self._loads = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        routes = [
            Route("/v2/health/live", _live),
            Route("/v2/repository/index", self._index, methods=["POST"]),
            Route("/v2/repository/models/{model}/load", self._load, methods=["POST"]),
            Route("/v2/repository/models/{model}/unload", self._unload, methods=["POST"]),
            Route("/v2/models/{model}/stats", self._statistics),
            Route("/v2/models/{model}/generate_stream", self._generate, methods=["POST"]),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes), port=self.port, log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="fake-triton", daemon=True)

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def texts(self) -> list[str]:
        return [str(tensors["TEXT"]) for tensors in self.requests]

    def release(self, gate: str) -> None:
        """Open a gate permanently. Any thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(lambda: self.scripts.gates[gate].set())

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(lambda: self._server.started, "the fake Triton starts")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(30)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve()

    async def _index(self, _: Request) -> Response:
        self.index_calls += 1
        reasons = {**_REASONS, "READY": ""}
        return JSONResponse(
            [
                {"name": name, "state": state, "reason": self.load_errors.get(name) or reasons.get(state, "")}
                for name, state in self.states.items()
            ]
        )

    async def _load(self, request: Request) -> Response:
        model = request.path_params["model"]
        self.calls.append(f"load {model}")
        if error := self.load_errors.get(model):
            return _refusal(f"failed to load '{model}', failed to poll from model repository: {error}")
        if self.hold_loads is not None:
            self.states[model] = "LOADING"
            await self.scripts.gates[self.hold_loads].wait()
        self._loads += 1
        self.states[model] = "READY"
        return Response()

    async def _unload(self, request: Request) -> Response:
        model = request.path_params["model"]
        self.calls.append(f"unload {model}")
        self.dead.discard(model)
        if self.hold_unloads is None:
            self.states[model] = "UNAVAILABLE"
        else:
            self.states[model] = "UNLOADING"
            self._unloading = asyncio.create_task(self._end_unload(model, self.hold_unloads))
        return Response()

    async def _end_unload(self, model: str, gate: str) -> None:
        await self.scripts.gates[gate].wait()
        self.states[model] = "UNAVAILABLE"

    async def _statistics(self, request: Request) -> Response:
        return JSONResponse(
            {"model_stats": [{"name": request.path_params["model"], "last_inference": self.last_inference_ms}]}
        )

    async def _generate(self, request: Request) -> Response:
        model, tensors = request.path_params["model"], await request.json()
        if tensors["TEXT"] or "STREAM_ACTION" in tensors:  # else it is what our clients ask a model's process with
            self.requests.append(tensors)
        if self.states.get(model) != "READY":
            return _refusal(f"Request for unknown model: '{model}' is not found")
        if model in self.dead:
            return _refusal(f"Stub process '{model}_0_0' is not healthy.", status=500)
        if self.resets:
            self._reset(request)
        return StreamingResponse(self._respond(model, tensors), media_type="text/event-stream")

    def _reset(self, request: Request) -> None:
        """Cut the connection of a request."""
        for connection in self._server.server_state.connections:
            if request.client is not None and connection.client == tuple(request.client):
                connection.transport.abort()

    async def _respond(self, model: str, tensors: Tensors) -> AsyncIterator[bytes]:
        fields = {"process": f"process-{self._loads}", "other_requests": self.active, **self.starts.get(model, {})}
        yield _message(StartEvent("fake", self.checkpoint, "cpu", **fields))
        if not tensors["TEXT"] and "STREAM_ACTION" not in tensors:
            yield _message(*failure(SpeechError(ErrorCode.INVALID_REQUEST, "The text is empty.")))
            return
        if refused := self.check(model, tensors):
            yield _message(*failure(refused))
            return
        if tensors.get("STREAM_ACTION") in {"append", "close"}:
            yield _message(*self.open_texts.add(tensors))
            return
        self.active += 1
        try:
            async with aclosing(self._aligns(tensors) if model == ALIGNER.name else self._speak(tensors)) as responses:
                async for response in responses:
                    yield _message(*response)
        finally:
            self.active -= 1

    async def _aligns(self, tensors: Tensors) -> AsyncIterator[tuple[Event, bytes]]:
        """Words of the same length each, over the whole recording."""
        samples = len(base64.b64decode(tensors["REF_AUDIO"])) // SAMPLE_BYTES
        texts = tensors["TEXT"].split()
        bounds = [samples * number // len(texts) for number in range(len(texts) + 1)]
        yield AudioEvent(0, tuple(Word(*word) for word in zip(texts, bounds, bounds[1:], strict=False))), b""
        yield end(0)

    def _speak(self, tensors: Tensors) -> Any:
        if "STREAM_ACTION" in tensors:
            return self.open_texts.read_aloud(tensors)
        script = read_script(tensors["TEXT"])
        if script is None and self.s_per_character:
            return read_aloud(tensors, self.s_per_character, self.behave, self.silent_chunks)
        return self.scripts.play(script or {}, self.chunk, self.chunks, tensors.get("traceparent", ""))


async def _live(_: Request) -> Response:
    return Response()


def _refusal(error: str, status: int = 400) -> Response:
    return JSONResponse({"error": error}, status)


def _message(event: Event, audio: bytes = b"") -> bytes:
    fields: dict[str, Any] = {"EVENT": event.to_json(), "AUDIO": audio.decode()}
    return b"data: " + json.dumps(fields).encode() + b"\n\n"
