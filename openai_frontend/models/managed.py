"""One of Triton's models, as managed by this frontend: its load, its leases and its assumed state."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from openai_frontend.observability.metrics import Metrics
from speech_client.repository import Repository
from speech_client.triton import ModelState, Triton, UnreachableError
from speech_protocol.errors import SpeechError

logger = logging.getLogger(__name__)

# Entered when a model has capacity for a load, and left when the load has ended.
Reserve = Callable[["ManagedModel"], AbstractAsyncContextManager[None]]


class ManagedModel:
    """The state machine of one model. All changes of the model take its lock `changing`, since a load during an unload,
    or of a ready model, runs two copies at once. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        name: str,
        triton: Triton,
        repository: Repository,
        metrics: Metrics,
        clock: Callable[[], float],
        reserve: Reserve,
        start_timeout_s: float,
    ) -> None:
        self.name = name
        self._triton, self._repository, self._metrics = triton, repository, metrics
        self._clock, self._reserve, self._start_timeout_s = clock, reserve, start_timeout_s
        self.changing = asyncio.Lock()
        self._bring_up_task: asyncio.Task[None] | None = None
        self.generation = 0  # number of loads so far
        # The assumed state; a request that finds it wrong calls `mark_unavailable`. It saves a call to Triton for each
        # request.
        self.ready = False
        self._dead = False
        self.leases = 0
        self.waiting = 0  # requests waiting until the model is ready
        self.last_used_s = clock()  # so that a model loaded by another client gets its full idle time, too
        self.loaded_s = 0.0
        self.load_took_s = 0.0
        # Set while another model waits for this one's memory: no new leases until the event is set.
        self.yields: asyncio.Event | None = None
        # Triton's own time of the last request, and the `last_used_s` at which it was read.
        self._seen_inference_ms, self._seen_after_s = 0, -1.0
        self.keep_again_s = 0.0  # a model to keep is not loaded again earlier

    @property
    def has_been_used(self) -> bool:
        """Whether this frontend has loaded the model."""
        return self._bring_up_task is not None

    async def ensure_ready(self) -> None:
        """Wait until the model can take requests; concurrent callers share one load. Raises SpeechError."""
        if self.ready:
            return
        if self._bring_up_task is None or self._bring_up_task.done():
            self._bring_up_task = asyncio.create_task(self._bring_up())
        self.waiting += 1
        try:
            # Shielded: if one waiting request is cancelled, the load continues for the others.
            await asyncio.shield(self._bring_up_task)
        finally:
            self.waiting -= 1

    def mark_unavailable(self, generation: int, *, dead: bool) -> None:
        """Report that a request of that load found the model unavailable, or its process `dead`."""
        if generation == self.generation:
            self.ready = False
            self._dead |= dead

    async def unload(self, why: str) -> ModelState:
        """Unload a model without leases, and return its state afterwards. Raises SpeechError."""
        # From here on a new request waits for the lock and then loads again; there is no await between check and flag.
        self.ready = False
        async with self.changing:
            logger.info("unloading %s %s", self.name, why)
            self._metrics.unloads.labels(self.name).inc()
            try:
                await self._triton.unload(self.name)
                return await self._repository.wait_unloaded(self.name)
            finally:
                self.last_used_s = self._clock()  # a model that is loaded again gets its full idle time

    async def is_idle(self, timeout_s: float) -> bool:
        """Whether the model has been unused for the idle time. Requests of other frontends and direct clients of Triton
        count: Triton's statistics include those that have ended, the model reports those in progress."""
        if self.leases:
            return False
        ended_ms = 0
        asks = self._seen_after_s != self.last_used_s
        if asks or self._clock() - self.last_used_s >= timeout_s:
            ended_ms = await self._triton.last_inference_ms(self.name)
        if asks:
            # Compared with itself only: the clock of Triton's machine may differ.
            self._seen_inference_ms, self._seen_after_s = ended_ms, self.last_used_s
        if self.leases or self._clock() - self.last_used_s < timeout_s:
            return False
        if ended_ms == self._seen_inference_ms and not await self._triton.requests_of(self.name):
            return True
        self.last_used_s = self._clock()
        return False

    async def aclose(self) -> None:
        """Stop waiting for a load; Triton itself continues it."""
        if self._bring_up_task is not None:
            self._bring_up_task.cancel()
            await asyncio.gather(self._bring_up_task, return_exceptions=True)

    async def _bring_up(self) -> None:
        async with self.changing:
            begin_s = self._clock()
            try:
                await self._bring_up_once()
            except UnreachableError:
                if self._start_timeout_s and self._clock() - begin_s >= self._start_timeout_s:
                    raise
                # Triton itself may crash with a model's process, and be restarted by its supervisor.
                await self._repository.wait()
                await self._bring_up_once()

    async def _bring_up_once(self) -> None:
        dead = self._dead
        state = await self._repository.prepare_load(self.name, dead=dead, crashed=self._count_crash)
        if state is not ModelState.READY:
            # A model in state UNLOADING already counts in all others' capacity checks, so its load needs no more
            # memory.
            if state is ModelState.UNLOADING:
                await self._load()
            else:
                async with self._reserve(self):
                    if await self._repository.state(self.name) is not ModelState.READY:
                        await self._load()
        self.ready, self._dead = True, False
        self.last_used_s = self._clock()

    async def _load(self) -> None:
        begin_s = self._clock()
        logger.info("loading %s", self.name)
        try:
            await self._repository.load(self.name, crashed=self._count_crash)
        except SpeechError:
            self._metrics.loads.labels(self.name, "failed").inc()
            raise
        self.loaded_s = self._clock()
        self.load_took_s = self.loaded_s - begin_s
        logger.info("loaded %s in %.1f s", self.name, self.load_took_s)
        self._metrics.loads.labels(self.name, "ok").inc()
        self._metrics.load_seconds.labels(self.name).observe(self.load_took_s)
        self.generation += 1

    def _count_crash(self) -> None:
        self._metrics.deaths.labels(self.name).inc()
