"""Which models are loaded, and for how long: load on demand, a lease for each request, unload when idle.

The rules come from how Triton behaves: a load during an unload, or of a ready model, runs two copies at once, so every
change of a model goes through its lock, and an unload is over only when the index says so.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from openai_frontend.triton import ModelState, Triton
from speech_protocol.errors import ErrorCode, SpeechError

logger = logging.getLogger(__name__)

_POLL_S = 0.05
# How long after an unload request the index may still say READY.
_UNLOAD_BEGINS_S = 2.0
# Streams in flight finish before an unload is over; a model whose process died has none.
_UNLOAD_LIMIT_S = 900.0
_DEAD_UNLOAD_S = 3.0


@dataclass(slots=True)
class _Model:
    name: str
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    bring_up: asyncio.Task[None] | None = None
    # What we believe; a request that finds it wrong calls `mistrust`. Saves asking Triton before every request.
    ready: bool = False
    dead: bool = False
    leases: int = 0
    last_used_s: float = 0.0


class Lifecycle:
    """Loads and unloads the models of one Triton. `idle_timeout_s` 0 never unloads; `clock` is a monotonic one."""

    def __init__(self, triton: Triton, idle_timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._triton = triton
        self._idle_timeout_s = idle_timeout_s
        self._clock = clock
        self._models: dict[str, _Model] = {}
        self._unloads: set[asyncio.Task[None]] = set()

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

    def mistrust(self, name: str, *, dead: bool = False) -> None:
        """A request found the model unavailable: ask Triton again before the next one. `dead`: its process died, which
        Triton's index does not tell, so it is unloaded before it is loaded again."""
        model = self._model(name)
        model.ready = False
        model.dead |= dead

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
            try:
                await self._unload_idle()
            except SpeechError as error:
                logger.debug("the idle timer could not ask Triton: %s", error.message)
            except Exception:
                # Were the timer to end here, no model would ever be unloaded again.
                logger.exception("a round of the idle timer failed")

    async def aclose(self) -> None:
        """End the loads that nobody waits for any more; Triton itself goes on with them."""
        loads = [model.bring_up for model in self._models.values() if model.bring_up is not None]
        tasks = [*loads, *self._unloads]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _model(self, name: str) -> _Model:
        if name not in self._models:
            # Idle time counts from here: a model that somebody else loaded gets its full time, too.
            self._models[name] = _Model(name, last_used_s=self._clock())
        return self._models[name]

    async def _bring_up(self, model: _Model) -> None:
        async with model.changing:
            state = await self._state(model.name)
            if model.dead and state is ModelState.READY:
                logger.warning("the process of %s died, starting it again", model.name)
                await self._triton.unload(model.name)
                # A dead model may stay UNLOADING for ever; there is no process left that a load could overlap with.
                state = await self._wait_unloaded(model.name, _DEAD_UNLOAD_S)
            elif state is ModelState.UNLOADING:
                state = await self._wait_unloaded(model.name, _UNLOAD_LIMIT_S)
            if state is not ModelState.READY:
                begin_s = self._clock()
                logger.info("loading %s", model.name)
                await self._triton.load(model.name)
                logger.info("loaded %s in %.1f s", model.name, self._clock() - begin_s)
            model.ready, model.dead = True, False
            model.last_used_s = self._clock()

    async def _unload_idle(self) -> None:
        """Look at every model; each is unloaded in its own time, so that one slow unload holds up no other."""
        for name, status in (await self._triton.index()).items():
            model = self._model(name)
            if status.state is not ModelState.READY:
                model.last_used_s = self._clock()
            elif not model.changing.locked() and await self._is_idle(model):
                self._unloads.add(task := asyncio.create_task(self._unload(model)))
                task.add_done_callback(self._unloads.discard)
                await asyncio.sleep(0)  # let it take the lock

    async def _is_idle(self, model: _Model) -> bool:
        if model.leases or self._clock() - model.last_used_s < self._idle_timeout_s:
            return False
        # Requests that other clients make straight to Triton count as well.
        since_s = time.time() - await self._triton.last_inference_ms(model.name) / 1000
        return since_s >= self._idle_timeout_s

    async def _unload(self, model: _Model) -> None:
        # From here on a new request waits for the lock and then loads again; no await between check and flag.
        if model.leases or model.changing.locked():
            return
        model.ready = False
        async with model.changing:
            logger.info("unloading %s after %g s without a request", model.name, self._idle_timeout_s)
            try:
                await self._triton.unload(model.name)
                await self._wait_unloaded(model.name, _UNLOAD_LIMIT_S)
            except SpeechError as error:
                logger.warning("%s could not be unloaded: %s", model.name, error.message)
            # Whoever loads it now, maybe before the timer looks again, gets the full time.
            model.last_used_s = self._clock()

    async def _wait_unloaded(self, name: str, limit_s: float) -> ModelState:
        """The state after an unload: UNLOADED, or READY or LOADING where another client loads it at once again;
        UNLOADING where it was not over within `limit_s`."""
        begin_s = self._clock()
        seen_unloading = False
        # Triton tells nobody when an unload is over; its index has to be asked. Right after the request it may still
        # say READY; later, READY means that somebody else wanted the model back.
        while True:
            state = await self._state(name)
            seen_unloading |= state is ModelState.UNLOADING
            waited_s = self._clock() - begin_s
            begins = state is ModelState.READY and not seen_unloading and waited_s < _UNLOAD_BEGINS_S
            if waited_s >= limit_s or not (begins or state is ModelState.UNLOADING):
                return state
            await asyncio.sleep(_POLL_S)

    async def _state(self, name: str) -> ModelState:
        status = (await self._triton.index()).get(name)
        if status is None:
            message = f"Triton has no model '{name}' in its repository."
            raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, message, "model")
        return status.state
