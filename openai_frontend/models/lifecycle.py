"""Which models are loaded, and for how long: load on demand, a lease for each request, unload when idle.

The rules come from how Triton behaves: a load during an unload, or of a ready model, runs two copies at once, so every
change of a model goes through its lock, and an unload is over only when the index says so.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from openai_frontend.models.capacity import ModelCapacity
from openai_frontend.models.index import POLL_S, ModelIndex
from openai_frontend.observability.metrics import Metrics
from speech_client.triton import ModelState, Triton, UnreachableError
from speech_protocol.errors import ErrorCode, SpeechError

logger = logging.getLogger(__name__)

# Streams in flight finish before an unload is over; a model whose process died has none.
_UNLOAD_LIMIT_S = 900.0
_DEAD_UNLOAD_S = 3.0
_KEEP_INTERVAL_S = 20.0
_KEEP_AGAIN_S = 30.0  # after a load that failed
# A model stays for at least this long, and this many times its load, before it is evicted while in use: else two models
# that are both in demand would spend their time loading.
_MIN_LOADED_S = 5.0
_MIN_LOADED_LOADS = 2.0
# In these states a model holds memory.
_PRESENT = {ModelState.LOADING, ModelState.READY, ModelState.UNLOADING}
_ABSENT = {ModelState.UNLOADED, ModelState.FAILED}


class ReplacedError(SpeechError):
    """The process that a request was sent to is gone, and the model is there again."""


@dataclass(slots=True)
class _Model:
    name: str
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    bring_up: asyncio.Task[None] | None = None
    question: asyncio.Task[str | None] | None = None
    generation: int = 0  # loads so far
    # What we believe; a request that finds it wrong calls `mark_unavailable`. Saves asking Triton before every request.
    ready: bool = False
    dead: bool = False
    leases: int = 0
    waiting: int = 0  # requests that wait until it is ready
    last_used_s: float = 0.0
    loaded_s: float = 0.0  # when it was loaded last, and how long that took
    load_took_s: float = 0.0
    # Set while another model waits for this one's memory: no new lease until the event.
    yields: asyncio.Event | None = None
    # Triton's own time of the last request, and the use of ours after which it was asked for.
    seen_inference_ms: int = 0
    seen_after_s: float = -1.0
    keep_again_s: float = 0.0


class Lifecycle:
    """Loads and unloads the models of one Triton. `idle_timeout_s` 0 never unloads; `clock` is a monotonic one;
    `capacity` bounds what is loaded at once; the models of `keep` are loaded at the start and stay; a Triton that was
    there and is gone is waited for `restart_timeout_s`, one that is not there at all `start_timeout_s`. A model for
    which there is no room is waited for `switch_timeout_s`."""

    def __init__(
        self,
        triton: Triton,
        idle_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        capacity: ModelCapacity | None = None,
        keep: Iterable[str] = (),
        restart_timeout_s: float = 0.0,
        start_timeout_s: float = 0.0,
        switch_timeout_s: float = 0.0,
        metrics: Metrics | None = None,
    ) -> None:
        self._triton = triton
        self._idle_timeout_s = idle_timeout_s
        self._clock = clock
        self._capacity = capacity or ModelCapacity()
        self._keep = frozenset(keep)
        self._index = ModelIndex(triton, clock, restart_timeout_s, start_timeout_s)
        self._start_timeout_s = start_timeout_s
        self._switch_timeout_s = switch_timeout_s
        self._metrics = metrics or Metrics()
        self._loading = asyncio.Lock()  # where there is a bound, one looks for room at a time
        self._models: dict[str, _Model] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncGenerator[None, None]:
        """Hold a model for one request: loaded when the body starts, not unloaded before it ends."""
        model = self._model(name)
        while model.yields is not None:  # it is about to be evicted for another model
            await model.yields.wait()
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
        model.waiting += 1
        try:
            # Shielded: the load goes on for the other requests when one of them is cancelled.
            await asyncio.shield(model.bring_up)
        finally:
            model.waiting -= 1

    def generation(self, name: str) -> int:
        """Changes with each load: what an earlier process was asked, nobody will answer."""
        return self._model(name).generation

    def mark_unavailable(self, name: str, generation: int, *, dead: bool = False) -> None:
        """A request found the model unavailable: ask Triton again before the next one. `dead`: its process died, which
        Triton's index does not tell, so it is unloaded before it is loaded again; unless that was done since."""
        model = self._model(name)
        if generation == model.generation:
            model.ready = False
            model.dead |= dead

    async def check_alive(self, name: str, generation: int, process: str) -> None:
        """Raises SpeechError where the process that was asked is gone, ReplacedError where another one is in its place:
        other frontends load models, too. All who wait for a model share one question."""
        model = self._model(name)
        if model.question is None or model.question.done():
            model.question = asyncio.create_task(self._process_of(name))
        found = await asyncio.shield(model.question)
        message = f"The model '{name}' crashed and is being started again. Try again in a moment."
        if found is None:
            raise SpeechError(ErrorCode.MODEL_DIED, message)
        if generation != model.generation or (process and found and process != found):
            raise ReplacedError(ErrorCode.MODEL_DIED, message)

    async def _process_of(self, name: str) -> str | None:
        # Twice: to take a living process for dead, because it was slow once, would end its streams.
        found = await self._triton.process_of(name)
        return found if found is not None else await self._triton.process_of(name)

    def leases(self, name: str) -> int:
        """Requests of this frontend that hold the model."""
        return self._model(name).leases

    def idle_s(self, name: str) -> float | None:
        """Seconds since the last request through this frontend; None while one runs."""
        model = self._model(name)
        return None if model.leases else self._clock() - model.last_used_s

    def unload_in_s(self, name: str) -> float | None:
        """Seconds until the idle timer unloads the model; None if it will not."""
        idle_s = self.idle_s(name)
        if idle_s is None or not self._idle_timeout_s or name in self._keep:
            return None
        return max(0.0, self._idle_timeout_s - idle_s)

    async def unload(self, name: str) -> ModelState:
        """Unload now, wait until it is over, and return the state that the model is in then: not UNLOADED where another
        client has it loaded again at once. Raises SpeechError, BUSY where requests hold the model or it is loading."""
        model = self._model(name)
        state = await self._index.state(name)
        if model.leases:
            raise SpeechError(ErrorCode.BUSY, f"{model.leases} requests are using '{name}'. Retry after they ended.")
        if state is ModelState.LOADING or model.changing.locked():
            raise SpeechError(ErrorCode.BUSY, f"'{name}' is being loaded or unloaded. Retry when that is over.")
        if state is ModelState.READY:
            return await self._unload(model, "on demand")
        return state if state in _ABSENT else await self._index.wait_unloaded(name, _UNLOAD_LIMIT_S)

    async def run_timer(self) -> None:
        """Unload idle models, and load those that are to be kept, until cancelled."""
        interval_s = min(max((self._idle_timeout_s or _KEEP_INTERVAL_S) / 10, POLL_S), 5.0)
        while self._idle_timeout_s or self._keep:
            try:
                await self._look()
            except SpeechError as error:
                logger.debug("the idle timer could not ask Triton: %s", error.message)
            except Exception:
                # Were the timer to end here, no model would ever be unloaded again.
                logger.exception("a round of the timer failed")
            await asyncio.sleep(interval_s)

    async def aclose(self, *, unload: bool = False) -> None:
        """End the loads that nobody waits for any more, which Triton itself goes on with. `unload`: what this frontend
        used is given back, since nobody will look whether it is idle."""
        own = (task for model in self._models.values() for task in (model.bring_up, model.question))
        tasks = [*(task for task in own if task is not None), *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if unload:
            with contextlib.suppress(SpeechError):
                await self._return_lease()

    async def _return_lease(self) -> None:
        for name, status in (await self._triton.index()).items():
            if status.state is ModelState.READY and self._model(name).bring_up is not None:
                logger.info("unloading %s at the stop", name)
                await self._triton.unload(name)

    def _model(self, name: str) -> _Model:
        if name not in self._models:
            # Idle time counts from here: a model that somebody else loaded gets its full time, too.
            self._models[name] = _Model(name, last_used_s=self._clock())
        return self._models[name]

    async def _bring_up(self, model: _Model) -> None:
        async with model.changing:
            begin_s = self._clock()
            try:
                await self._bring_up_once(model)
            except UnreachableError:
                if self._start_timeout_s and self._clock() - begin_s >= self._start_timeout_s:
                    raise
                # With a model's process Triton itself may die, and be started again by whoever runs it.
                await self._index.wait()
                await self._bring_up_once(model)

    async def _bring_up_once(self, model: _Model) -> None:
        state = await self._index.state(model.name)
        if model.dead and state is ModelState.READY:
            logger.warning("the process of %s died, starting it again", model.name)
            self._metrics.deaths.labels(model.name).inc()
            await self._triton.unload(model.name)
            # A dead model may stay UNLOADING for ever; there is no process left that a load could overlap with.
            state = await self._index.wait_unloaded(model.name, _DEAD_UNLOAD_S)
        elif state is ModelState.UNLOADING:
            state = await self._index.wait_unloaded(model.name, _UNLOAD_LIMIT_S)
        if state is not ModelState.READY:
            # One that is still unloading is counted by all others already, so its load needs no more room.
            if self._capacity.is_bounded and state is not ModelState.UNLOADING:
                async with self._loading:
                    await self._evict_for(model)
                    # Another client may have loaded it meanwhile.
                    if await self._index.state(model.name) is not ModelState.READY:
                        await self._load(model)
            else:
                await self._load(model)
        model.ready, model.dead = True, False
        model.last_used_s = self._clock()

    async def _load(self, model: _Model) -> None:
        begin_s = self._clock()
        logger.info("loading %s", model.name)
        try:
            await self._load_with_retry(model.name)
        except SpeechError:
            self._metrics.loads.labels(model.name, "failed").inc()
            raise
        model.loaded_s = self._clock()
        model.load_took_s = model.loaded_s - begin_s
        logger.info("loaded %s in %.1f s", model.name, model.load_took_s)
        self._metrics.loads.labels(model.name, "ok").inc()
        self._metrics.load_seconds.labels(model.name).observe(model.load_took_s)
        model.generation += 1

    async def _load_with_retry(self, name: str) -> None:
        """Once more where the process died while it loaded."""
        try:
            await self._triton.load(name)
        except SpeechError as error:
            if error.code is not ErrorCode.MODEL_DIED:
                raise
            logger.warning("the process of %s died while it loaded, once more", name)
            self._metrics.deaths.labels(name).inc()
            await self._triton.load(name)

    async def _evict_for(self, wanted: _Model) -> None:
        """Evict models, the least recently used ones first, until `wanted` fits. Where all are in use, one of them gets
        no new leases after a while, so that its requests end. Raises SpeechError BUSY after `switch_timeout_s`."""
        begin_s = self._clock()
        yielding: list[_Model] = []
        try:
            while True:
                present = await self._present_beside(wanted.name)
                if self._capacity.fits(wanted.name, present):
                    return
                ready = [self._model(other) for other, state in present.items() if state is ModelState.READY]
                ready = [model for model in ready if model.name not in self._keep]
                if idle := [model for model in ready if self._is_evictable(model)]:
                    await self._evict(min(idle, key=lambda model: model.last_used_s), wanted)
                    continue
                changes = any(state is not ModelState.READY for state in present.values())
                waited_s = self._clock() - begin_s
                expired = waited_s >= self._switch_timeout_s
                if (not changes and (expired or not ready or not wanted.waiting)) or waited_s >= _UNLOAD_LIMIT_S:
                    raise _no_capacity(wanted.name, present)
                if all(model.yields is None for model in ready) and (asked := self._request_eviction(ready)):
                    yielding.append(asked)
                await asyncio.sleep(POLL_S)
        finally:
            for model in yielding:
                if model.yields is not None:
                    model.yields.set()
                    model.yields = None

    async def _present_beside(self, name: str) -> dict[str, ModelState]:
        """The other models that hold memory."""
        return {
            other: status.state
            for other, status in (await self._index.wait()).items()
            if other != name and self._capacity.counts(other) and status.state in _PRESENT
        }

    def _request_eviction(self, ready: Sequence[_Model]) -> _Model | None:
        """Of the models that have been loaded for long enough to be worth their loads, the one that has been for
        longest; from now on it gets no new leases."""
        now_s = self._clock()
        due = [
            model
            for model in ready
            if now_s - model.loaded_s >= max(_MIN_LOADED_S, _MIN_LOADED_LOADS * model.load_took_s)
        ]
        if not due:
            return None
        model = min(due, key=lambda model: model.loaded_s)
        model.yields = asyncio.Event()
        return model

    async def _evict(self, model: _Model, wanted: _Model) -> None:
        try:
            await self._unload(model, f"for {wanted.name}")
        except SpeechError as error:
            logger.warning("%s could not be unloaded: %s", model.name, error.message)
            await asyncio.sleep(POLL_S)

    def _is_evictable(self, model: _Model) -> bool:
        return not model.leases and not model.changing.locked() and model.name not in self._keep

    async def _look(self) -> None:
        """Look at every model; what is to be done with each takes its own time and holds up no other."""
        for name, status in (await self._index.now()).items():
            model = self._model(name)
            if name in self._keep:
                if status.state in _ABSENT and self._clock() >= model.keep_again_s:
                    model.ready = False
                    model.keep_again_s = self._clock() + _KEEP_AGAIN_S
                    self._start(self._load_kept(name))
            elif status.state is not ModelState.READY:
                model.last_used_s = self._clock()
            elif self._idle_timeout_s and self._is_evictable(model) and await self._is_idle(model):
                self._start(self._unload_idle(model))
                await asyncio.sleep(0)  # let it take the lock

    def _start(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.add(task := asyncio.create_task(work))
        task.add_done_callback(self._tasks.discard)

    async def _load_kept(self, name: str) -> None:
        try:
            await self.ensure_ready(name)
        except SpeechError as error:
            logger.warning("%s is to be kept loaded, and cannot be: %s", name, error.message)

    async def _is_idle(self, model: _Model) -> bool:
        """Whether the model has been unused for the idle time. Requests of other frontends and of Triton's own clients
        count: Triton's statistics show those that have ended, the model itself those in progress."""
        if model.leases:
            return False
        ended_ms = 0
        asks = model.seen_after_s != model.last_used_s
        if asks or self._clock() - model.last_used_s >= self._idle_timeout_s:
            ended_ms = await self._triton.last_inference_ms(model.name)
        if asks:
            # Compared with itself only: the clock of Triton's machine may not agree with ours.
            model.seen_inference_ms, model.seen_after_s = ended_ms, model.last_used_s
        if model.leases or self._clock() - model.last_used_s < self._idle_timeout_s:
            return False
        if ended_ms == model.seen_inference_ms and not await self._triton.requests_of(model.name):
            return True
        model.last_used_s = self._clock()
        return False

    async def _unload_idle(self, model: _Model) -> None:
        if not self._is_evictable(model):  # it was taken since the timer looked
            return
        try:
            await self._unload(model, f"after {self._idle_timeout_s:g} s without a request")
        except SpeechError as error:
            logger.warning("%s could not be unloaded: %s", model.name, error.message)

    async def _unload(self, model: _Model, why: str) -> ModelState:
        """Unload a model without leases, and return its state then. Raises SpeechError where Triton refuses."""
        # From here on a new request waits for the lock and then loads again; no await between check and flag.
        model.ready = False
        async with model.changing:
            logger.info("unloading %s %s", model.name, why)
            self._metrics.unloads.labels(model.name).inc()
            try:
                await self._triton.unload(model.name)
                return await self._index.wait_unloaded(model.name, _UNLOAD_LIMIT_S)
            finally:
                # Whoever loads it now, maybe before the timer looks again, gets the full time.
                model.last_used_s = self._clock()


def _no_capacity(name: str, present: Mapping[str, ModelState]) -> SpeechError:
    message = f"'{name}' does not fit beside {', '.join(sorted(present))}, which are in use. Retry later."
    return SpeechError(ErrorCode.BUSY, message)
