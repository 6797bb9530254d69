"""Triton's model repository: the index, waiting for state changes, and loads that are safe in every state.

Two rules follow from Triton's behaviour. A load while a model is UNLOADING runs two copies at once, so the load waits
for the end of the unload. A model whose process crashed stays READY, so it is unloaded before it is loaded again.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from speech_client.triton import ModelState, ModelStatus, Triton, UnreachableError
from speech_protocol.errors import ErrorCode, SpeechError

logger = logging.getLogger(__name__)

POLL_S: Final = 0.05
# Streams in flight finish before an unload ends.
UNLOAD_LIMIT_S: Final = 900.0
# A crashed model has no streams, and may stay UNLOADING forever.
_CRASHED_UNLOAD_LIMIT_S: Final = 3.0
# How long after an unload request the index may still say READY.
_UNLOAD_BEGINS_S: Final = 2.0


class Repository:
    """The models of one Triton. Calls wait `restart_timeout_s` for a Triton that became unreachable, and
    `start_timeout_s` for one that was never reached; `clock` is monotonic, in seconds. Methods raise SpeechError."""

    def __init__(
        self,
        triton: Triton,
        clock: Callable[[], float] = time.monotonic,
        restart_timeout_s: float = 0.0,
        start_timeout_s: float = 0.0,
    ) -> None:
        self._triton, self._clock = triton, clock
        self._restart_timeout_s, self._start_timeout_s = restart_timeout_s, start_timeout_s
        self._unreachable_since_s: float | None = float("-inf")  # None while Triton is reachable

    async def now(self) -> dict[str, ModelStatus]:
        """The status of every model. Raises UnreachableError immediately if Triton does not answer."""
        try:
            index = await self._triton.index()
        except UnreachableError:
            if self._unreachable_since_s is None:
                self._unreachable_since_s = self._clock()
            raise
        self._unreachable_since_s = None
        return index

    async def wait(self) -> dict[str, ModelStatus]:
        """The same, once Triton answers. Raises UnreachableError after the time-outs."""
        begin_s = self._clock()
        while True:
            try:
                return await self.now()
            except UnreachableError:
                now_s = self._clock()
                unreachable_s = now_s - (self._unreachable_since_s or now_s)
                if unreachable_s >= self._restart_timeout_s and now_s - begin_s >= self._start_timeout_s:
                    raise
            await asyncio.sleep(POLL_S)

    async def state(self, name: str) -> ModelState:
        """One model's state, as `wait` finds it. Raises MODEL_UNAVAILABLE, with `param`, for an unknown model."""
        status = (await self.wait()).get(name)
        if status is None:
            message = f"Triton has no model '{name}' in its repository. Use one that GET /v1/models lists."
            raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, message, "model")
        return status.state

    async def wait_unloaded(self, name: str, limit_s: float = UNLOAD_LIMIT_S) -> ModelState:
        """The state after an unload: UNLOADED; READY or LOADING if another client has loaded the model again; UNLOADING
        if the unload takes longer than `limit_s`."""
        begin_s = self._clock()
        seen_unloading = False
        # Triton does not report the end of an unload. Right after the request its index may still say READY; later,
        # READY means that another client has loaded the model again.
        while True:
            state = await self.state(name)
            seen_unloading |= state is ModelState.UNLOADING
            waited_s = self._clock() - begin_s
            begins = state is ModelState.READY and not seen_unloading and waited_s < _UNLOAD_BEGINS_S
            if waited_s >= limit_s or not (begins or state is ModelState.UNLOADING):
                return state
            await asyncio.sleep(POLL_S)

    async def prepare_load(
        self, name: str, *, dead: bool, limit_s: float = UNLOAD_LIMIT_S, crashed: Callable[[], None] = lambda: None
    ) -> ModelState:
        """Bring a model into a state in which it can be loaded, and return the state; READY needs no load. A `dead`
        model is unloaded first, after calling `crashed`; the method waits for an unload in progress."""
        state = await self.state(name)
        if dead and state is ModelState.READY:
            logger.warning("the process of %s crashed; reloading", name)
            crashed()
            await self._triton.unload(name)
            return await self.wait_unloaded(name, _CRASHED_UNLOAD_LIMIT_S)
        if state is ModelState.UNLOADING:
            return await self.wait_unloaded(name, limit_s)
        return state

    async def load(self, name: str, crashed: Callable[[], None] = lambda: None) -> None:
        """Load a model; retry once if its process crashes during the load, after calling `crashed`."""
        try:
            await self._triton.load(name)
        except SpeechError as error:
            if error.code is not ErrorCode.MODEL_DIED:
                raise
            logger.warning("the process of %s crashed during the load; retrying once", name)
            crashed()
            await self._triton.load(name)

    async def bring_up(self, name: str, *, dead: bool = False, limit_s: float = UNLOAD_LIMIT_S) -> None:
        """Ensure that a model is loaded."""
        if await self.prepare_load(name, dead=dead, limit_s=limit_s) is not ModelState.READY:
            await self.load(name)
