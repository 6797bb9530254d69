"""A Triton of a test's own: one model whose every utterance is a tone, fast, and which fails on demand."""

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

import numpy as np
from aiohttp import web

from local_stack.triton_process import free_port
from speech_protocol.audio import SAMPLE_RATE_HZ
from speech_protocol.errors import SpeechError
from speech_protocol.events import AudioEvent, EndEvent, ErrorEvent, FinishReason, StartEvent

Behaviour = Callable[[dict[str, Any]], SpeechError | FinishReason | None]


class FakeTriton:
    """Use it as a context manager. `requests` are the tensors that came; `behave` says what becomes of each: an
    error, an end of another kind, or None for a good one. `resets`: connections are cut instead."""

    def __init__(self, seconds_per_character: float = 0.01) -> None:
        self.port = free_port()
        self.requests: list[dict[str, Any]] = []
        self.checkpoint = "first"
        self.resets = False
        self.behave: Behaviour = lambda tensors: None
        self._seconds_per_character = seconds_per_character
        time_s = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
        self._second = (8_000 * np.sin(2 * np.pi * 300 * time_s)).astype("<i2").tobytes()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-triton", daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def texts(self) -> list[str]:
        return [str(tensors["TEXT"]) for tensors in self.requests]

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(timeout=30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=30)
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v2/repository/index", self._index)
        app.router.add_post("/v2/models/{model}/generate_stream", self._generate)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def _index(self, request: web.Request) -> web.Response:
        return web.json_response([{"name": "fake", "version": "1", "state": "READY"}])

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        tensors = await request.json()
        self.requests.append(tensors)
        if self.resets:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        reply = web.StreamResponse()
        await reply.prepare(request)
        async for event, audio in self._events(tensors):
            line = json.dumps({"EVENT": event, "AUDIO": base64.b64encode(audio).decode()})
            await reply.write(f"data: {line}\n\n".encode())
        return reply

    async def _events(self, tensors: dict[str, Any]) -> AsyncIterator[tuple[str, bytes]]:
        outcome = self.behave(tensors)
        if isinstance(outcome, SpeechError):
            yield ErrorEvent.from_error(outcome).to_json(), b""
            return
        yield StartEvent("fake", self.checkpoint, "cpu").to_json(), b""
        samples = max(2_400, round(len(tensors["TEXT"]) * self._seconds_per_character * SAMPLE_RATE_HZ))
        left = samples
        while left:
            part = min(left, SAMPLE_RATE_HZ)
            yield AudioEvent(part).to_json(), self._second[: 2 * part]
            left -= part
        reason = outcome or FinishReason.STOP
        yield EndEvent(reason, samples, len(tensors["TEXT"]), 0.0, 0.0, 0.0).to_json(), b""
