"""Loading on demand, a lease for each request, eviction at the capacity limit, unloading when idle."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from openai_frontend.models.capacity import ModelCapacity
from openai_frontend.models.managed import ManagedModel
from openai_frontend.observability.metrics import Metrics
from speech_client.liveness import Liveness
from speech_client.repository import POLL_S, UNLOAD_LIMIT_S, Repository
from speech_client.triton import ModelState, Triton
from speech_protocol.errors import ErrorCode, SpeechError

logger = logging.getLogger(__name__)

_KEEP_INTERVAL_S = 20.0
_KEEP_AGAIN_S = 30.0  # after a failed load
# A model in use is not evicted before this time, or this many times its load time: otherwise two models in demand would
# spend their time loading.
_MIN_LOADED_S = 5.0
_MIN_LOADED_LOADS = 2.0
# In these states a model uses memory.
_PRESENT = {ModelState.LOADING, ModelState.READY, ModelState.UNLOADING}
_ABSENT = {ModelState.UNLOADED, ModelState.FAILED}


class Lifecycle:
    """Loads and unloads the models of one Triton.

    `idle_timeout_s` 0 never unloads; `clock` is monotonic, in seconds; `capacity` limits what is loaded at once; the
    models in `keep` are loaded at startup and never unloaded. Requests wait `restart_timeout_s` for a Triton that
    became unreachable, `start_timeout_s` for one that was never reached, and `switch_timeout_s` for capacity for
    another model.
    """

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
        self._repository = Repository(triton, clock, restart_timeout_s, start_timeout_s)
        self._liveness = Liveness(triton)
        self._start_timeout_s = start_timeout_s
        self._switch_timeout_s = switch_timeout_s
        self._metrics = metrics or Metrics()
        self._reserving = asyncio.Lock()
        self._models: dict[str, ManagedModel] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncGenerator[None, None]:
        """Hold a model for one request: it is loaded on entry and not unloaded before the exit."""
        model = self._model(name)
        while model.yields is not None:  # it is about to be evicted for another model
            await model.yields.wait()
        model.leases += 1
        try:
            await model.ensure_ready()
            yield
        finally:
            model.leases -= 1
            model.last_used_s = self._clock()

    async def ensure_ready(self, name: str) -> None:
        """Wait until the model can take requests; concurrent callers share one load. Raises SpeechError."""
        await self._model(name).ensure_ready()

    def generation(self, name: str) -> int:
        """Changes with each load: requests of an earlier load receive no more messages."""
        return self._model(name).generation

    def mark_unavailable(self, name: str, generation: int, *, dead: bool = False) -> None:
        """Report that a request of that load found the model unavailable: its state is read from Triton before the next
        request. `dead`: its process has crashed, which Triton's index does not show, so the model is unloaded before it
        is loaded again."""
        self._model(name).mark_unavailable(generation, dead=dead)

    async def check_alive(self, name: str, generation: int, process: str) -> None:
        """Raises SpeechError if the process that serves a request has crashed, ReplacedError if another one has
        replaced it."""
        model = self._model(name)
        await self._liveness.check(name, process, lambda: generation != model.generation)

    def leases(self, name: str) -> int:
        """The number of requests of this frontend that hold the model."""
        return self._model(name).leases

    def idle_s(self, name: str) -> float | None:
        """Seconds since the last request through this frontend; None during a request."""
        model = self._model(name)
        return None if model.leases else self._clock() - model.last_used_s

    def unload_in_s(self, name: str) -> float | None:
        """Seconds until the idle timer unloads the model; None if it will not."""
        idle_s = self.idle_s(name)
        if idle_s is None or not self._idle_timeout_s or name in self._keep:
            return None
        return max(0.0, self._idle_timeout_s - idle_s)

    async def unload(self, name: str) -> ModelState:
        """Unload now, wait until it is done, and return the resulting state: not UNLOADED if another client has loaded
        the model again meanwhile. Raises SpeechError, BUSY if requests hold the model or it is loading."""
        model = self._model(name)
        state = await self._repository.state(name)
        if model.leases:
            raise SpeechError(ErrorCode.BUSY, f"{model.leases} requests are using '{name}'. Retry after they ended.")
        if state is ModelState.LOADING or model.changing.locked():
            raise SpeechError(ErrorCode.BUSY, f"'{name}' is being loaded or unloaded. Retry when that is over.")
        if state is ModelState.READY:
            return await model.unload("on demand")
        return state if state in _ABSENT else await self._repository.wait_unloaded(name)

    async def run_timer(self) -> None:
        """Unload idle models, and load the models to keep, until cancelled."""
        interval_s = min(max((self._idle_timeout_s or _KEEP_INTERVAL_S) / 10, POLL_S), 5.0)
        while self._idle_timeout_s or self._keep:
            try:
                await self._check_models()
            except SpeechError as error:
                logger.debug("the idle timer could not reach Triton: %s", error.message)
            except Exception:
                # If the timer ended here, no model would ever be unloaded again.
                logger.exception("an iteration of the idle timer failed")
            await asyncio.sleep(interval_s)

    async def aclose(self, *, unload: bool = False) -> None:
        """Stop waiting for loads, which Triton itself continues. `unload`: unload the models that this frontend has
        used, since no idle timer remains."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for model in self._models.values():
            await model.aclose()
        await self._liveness.aclose()
        if unload:
            with contextlib.suppress(SpeechError):
                await self._unload_used()

    async def _unload_used(self) -> None:
        for name, status in (await self._triton.index()).items():
            if status.state is ModelState.READY and self._model(name).has_been_used:
                logger.info("unloading %s on shutdown", name)
                await self._triton.unload(name)

    def _model(self, name: str) -> ManagedModel:
        if name not in self._models:
            parts = (self._triton, self._repository, self._metrics, self._clock, self._reserve)
            self._models[name] = ManagedModel(name, *parts, self._start_timeout_s)
        return self._models[name]

    @asynccontextmanager
    async def _reserve(self, wanted: ManagedModel) -> AsyncGenerator[None, None]:
        """Capacity for one load; if capacity is limited, for one model at a time. Raises SpeechError BUSY."""
        if not self._capacity.is_bounded:
            yield
            return
        async with self._reserving:
            await self._evict_for(wanted)
            yield

    async def _evict_for(self, wanted: ManagedModel) -> None:
        """Evict models, least recently used first, until `wanted` fits. If all are in use, one of them gets no new
        leases after a while, so that its requests end. Raises SpeechError BUSY after `switch_timeout_s`."""
        begin_s = self._clock()
        yielding: list[ManagedModel] = []
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
                if (not changes and (expired or not ready or not wanted.waiting)) or waited_s >= UNLOAD_LIMIT_S:
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
        """The other models that use memory."""
        return {
            other: status.state
            for other, status in (await self._repository.wait()).items()
            if other != name and self._capacity.counts(other) and status.state in _PRESENT
        }

    def _request_eviction(self, ready: Sequence[ManagedModel]) -> ManagedModel | None:
        """Choose the model that was loaded first, of those that have been loaded long enough to be worth their load; it
        gets no new leases from now on."""
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

    async def _evict(self, model: ManagedModel, wanted: ManagedModel) -> None:
        try:
            await model.unload(f"for {wanted.name}")
        except SpeechError as error:
            logger.warning("cannot unload %s: %s", model.name, error.message)
            await asyncio.sleep(POLL_S)

    def _is_evictable(self, model: ManagedModel) -> bool:
        return not model.leases and not model.changing.locked() and model.name not in self._keep

    async def _check_models(self) -> None:
        """Check every model once; loads and unloads run as separate tasks, so that none delays another."""
        for name, status in (await self._repository.now()).items():
            model = self._model(name)
            if name in self._keep:
                if status.state in _ABSENT and self._clock() >= model.keep_again_s:
                    model.ready = False
                    model.keep_again_s = self._clock() + _KEEP_AGAIN_S
                    self._start(self._load_kept(model))
            elif status.state is not ModelState.READY:
                model.last_used_s = self._clock()
            elif self._idle_timeout_s and self._is_evictable(model) and await model.is_idle(self._idle_timeout_s):
                self._start(self._unload_idle(model))
                await asyncio.sleep(0)  # let it take the lock

    def _start(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.add(task := asyncio.create_task(work))
        task.add_done_callback(self._tasks.discard)

    async def _load_kept(self, model: ManagedModel) -> None:
        try:
            await model.ensure_ready()
        except SpeechError as error:
            logger.warning("KEEP_LOADED: cannot load %s: %s", model.name, error.message)

    async def _unload_idle(self, model: ManagedModel) -> None:
        if not self._is_evictable(model):  # a request has acquired it meanwhile
            return
        try:
            await model.unload(f"after {self._idle_timeout_s:g} s without a request")
        except SpeechError as error:
            logger.warning("cannot unload %s: %s", model.name, error.message)


def _no_capacity(name: str, present: Mapping[str, ModelState]) -> SpeechError:
    message = f"'{name}' does not fit into memory beside the models in use: {', '.join(sorted(present))}. Retry later."
    return SpeechError(ErrorCode.BUSY, message)
