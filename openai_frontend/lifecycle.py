"""Which models are loaded, and for how long: load on demand, a lease for each request, unload when idle.

The rules come from how Triton behaves: a load during an unload, or of a ready model, runs two copies at once, so every
change of a model goes through its lock, and an unload is over only when the index says so.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from openai_frontend.triton import ModelState, Triton
from speech_protocol.errors import ErrorCode, SpeechError

logger = logging.getLogger(__name__)

_POLL_S = 0.05


@dataclass(slots=True)
class _Model:
    name: str
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    bring_up: asyncio.Task[None] | None = None
    # What we believe; a request that finds it wrong calls `mistrust`. Saves asking Triton before every request.
    ready: bool = False
    leases: int = 0
    last_used_s: float = 0.0


class Lifecycle:
    """Loads and unloads the models of one Triton. `idle_timeout_s` 0 never unloads; `clock` is a monotonic one."""

    def __init__(self, triton: Triton, idle_timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._triton = triton
        self._idle_timeout_s = idle_timeout_s
        self._clock = clock
        self._models: dict[str, _Model] = {}

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncGenerator[None, None]:
        """Hold a model for one request: loaded when the body starts, not unloaded before it ends."""
        model = self._model(name)
        model.leases += 1
        try:
            await self.ensure_ready(name)
            yield
        finally:
            model.leases -= 1
            model.last_used_s = self._clock()

    async def ensure_ready(self, name: str) -> None:
        """Wait until the model can take requests; all who wait share one load. Raises SpeechError."""
        model = self._model(name)
        if model.ready:
            return
        if model.bring_up is None or model.bring_up.done():
            model.bring_up = asyncio.create_task(self._bring_up(model))
        # Shielded: the load goes on for the others when one who waits hangs up.
        await asyncio.shield(model.bring_up)

    def mistrust(self, name: str) -> None:
        """A request found the model unavailable: ask Triton again before the next one."""
        self._model(name).ready = False

    def idle_s(self, name: str) -> float | None:
        """Seconds since the last request through this frontend; None while one runs."""
        model = self._model(name)
        return None if model.leases else self._clock() - model.last_used_s

    def unload_in_s(self, name: str) -> float | None:
        """Seconds until the idle timer unloads the model; None if it will not."""
        idle_s = self.idle_s(name)
        return None if idle_s is None or not self._idle_timeout_s else max(0.0, self._idle_timeout_s - idle_s)

    async def run_idle_timer(self) -> None:
        """Unload idle models until cancelled."""
        if not self._idle_timeout_s:
            return
        interval_s = min(max(self._idle_timeout_s / 10, _POLL_S), 5.0)
        while True:
            await asyncio.sleep(interval_s)
            # Triton may be restarting; the next round sees it again.
            with suppress(SpeechError):
                await self._unload_idle()

    def _model(self, name: str) -> _Model:
        if name not in self._models:
            # Idle time counts from here: a model that somebody else loaded gets its full time, too.
            self._models[name] = _Model(name, last_used_s=self._clock())
        return self._models[name]

    async def _bring_up(self, model: _Model) -> None:
        async with model.changing:
            status = (await self._triton.index()).get(model.name)
            if status is None:
                message = f"Triton has no model '{model.name}' in its repository."
                raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, message, "model")
            if status.state is ModelState.UNLOADING:
                await self._wait_unloaded(model.name)
            if status.state is not ModelState.READY:
                begin = self._clock()
                logger.info("loading %s", model.name)
                await self._triton.load(model.name)
                logger.info("loaded %s in %.1f s", model.name, self._clock() - begin)
            model.ready = True
            model.last_used_s = self._clock()

    async def _unload_idle(self) -> None:
        for name, status in (await self._triton.index()).items():
            model = self._model(name)
            if status.state is not ModelState.READY:
                model.last_used_s = self._clock()
            elif await self._is_idle(model):
                await self._unload(model)

    async def _is_idle(self, model: _Model) -> bool:
        if model.leases or self._clock() - model.last_used_s < self._idle_timeout_s:
            return False
        # Requests that other clients make straight to Triton count as well.
        since_s = time.time() - await self._triton.last_inference_ms(model.name) / 1000
        return since_s >= self._idle_timeout_s and not model.leases

    async def _unload(self, model: _Model) -> None:
        # From here on a new request waits for the lock and then loads again; no await between check and flag.
        if model.leases or model.changing.locked():
            return
        model.ready = False
        async with model.changing:
            logger.info("unloading %s after %g s without a request", model.name, self._idle_timeout_s)
            await self._triton.unload(model.name)
            await self._wait_unloaded(model.name)

    async def _wait_unloaded(self, name: str) -> None:
        # Triton tells nobody when an unload is over; its index has to be asked.
        while (await self._triton.index())[name].state in {ModelState.UNLOADING, ModelState.READY}:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
