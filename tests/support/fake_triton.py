"""A Triton that is an ASGI application in a thread of this process: the calls that the frontend makes, and no model.

The text of a request is a JSON object: `chunks` of 80 ms (null: until the client hangs up), `hold` (the name of a gate
before the second chunk, which `release` opens), `error` (a code, instead of audio), `error_after` (a number of chunks).
Anything else is as many chunks as `chunks` of the fake says, 1 unless it is set.
"""

import asyncio
import base64
import json
import threading
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any, Self

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from local_stack.triton_process import free_port
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import AudioEvent, EndEvent, ErrorEvent, Event, FinishReason, StartEvent
from tests.support.waiting import eventually

CHUNK = base64.b64encode((b"\x00\x10\x00\xf0" * FRAME_SAMPLES)[: FRAME_SAMPLES * SAMPLE_BYTES])


def tone() -> bytes:
    """A chunk that the voice library takes for a voice."""
    time_s = np.arange(FRAME_SAMPLES) / SAMPLE_RATE_HZ
    samples = 8000 * np.sin(2 * np.pi * 300 * time_s) * np.abs(np.sin(np.pi * 12.5 * time_s))
    return base64.b64encode(samples.astype("<i2").tobytes())


class FakeTriton:
    """Serves `models` on a free port of loopback; use it as a context manager. All are unloaded at the start."""

    def __init__(self, *models: str) -> None:
        self.port = free_port()
        self.states = dict.fromkeys(models, "UNAVAILABLE")
        self.calls: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.chunks = 1
        self.chunk = CHUNK
        self.hold_loads: str | None = None  # the name of a gate
        self.active = 0
        self._gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
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
        return f"http://127.0.0.1:{self.port}"

    def release(self, gate: str) -> None:
        """Open a gate, for ever. Any thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(lambda: self._gates[gate].set())

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
        reasons = {"UNAVAILABLE": "unloaded"}
        rows = [{"name": name, "state": state, "reason": reasons.get(state, "")} for name, state in self.states.items()]
        return JSONResponse(rows)

    async def _load(self, request: Request) -> Response:
        self.calls.append(f"load {request.path_params['model']}")
        if self.hold_loads is not None:
            self.states[request.path_params["model"]] = "LOADING"
            await self._gates[self.hold_loads].wait()
        self.states[request.path_params["model"]] = "READY"
        return Response()

    async def _unload(self, request: Request) -> Response:
        self.calls.append(f"unload {request.path_params['model']}")
        self.states[request.path_params["model"]] = "UNAVAILABLE"
        return Response()

    async def _statistics(self, request: Request) -> Response:
        return JSONResponse({"model_stats": [{"name": request.path_params["model"], "last_inference": 0}]})

    async def _generate(self, request: Request) -> Response:
        body = await request.json()
        if body["TEXT"]:  # else it is what the frontend asks a model's process with
            self.requests.append(body)
        return StreamingResponse(self._speak(body["TEXT"]), media_type="text/event-stream")

    async def _speak(self, text: str) -> AsyncIterator[bytes]:
        try:
            script = dict(json.loads(text))
        except (ValueError, TypeError):
            script = {}
        yield _message(StartEvent("fake", "none", "cpu", process="only", other_requests=self.active))
        if not text:  # what the frontend asks a model's process with
            yield _message(ErrorEvent.from_error(SpeechError(ErrorCode.INVALID_REQUEST, "The text is empty.")))
            return
        if code := script.get("error"):
            yield _message(ErrorEvent(code, "scripted"))
            return
        self.active += 1
        try:
            sent = 0
            chunks = script.get("chunks", self.chunks)
            while chunks is None or sent < chunks:
                if sent and sent == script.get("error_after"):
                    yield _message(ErrorEvent("engine_failure", "The model failed."))
                    return
                if sent == 1 and script.get("hold"):
                    await self._gates[script["hold"]].wait()
                yield _message(AudioEvent(FRAME_SAMPLES), self.chunk)
                sent += 1
                await asyncio.sleep(0)
            yield _message(EndEvent(FinishReason.STOP, sent * FRAME_SAMPLES, 1, 0.0, 0.0, 0.0))
        finally:
            self.active -= 1


async def _live(_: Request) -> Response:
    return Response()


def _message(event: Event, audio: bytes = b"") -> bytes:
    fields: dict[str, Any] = {"EVENT": event.to_json(), "AUDIO": audio.decode()}
    return b"data: " + json.dumps(fields).encode() + b"\n\n"
