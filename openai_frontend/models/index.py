"""Triton's index of models, asked as often as it takes: until Triton is back, or until an unload is over."""

import asyncio
from collections.abc import Callable
from typing import Final

from speech_client.triton import ModelState, ModelStatus, Triton, UnreachableError
from speech_protocol.errors import ErrorCode, SpeechError

POLL_S: Final = 0.05
# How long after an unload request the index may still say READY.
_UNLOAD_BEGINS_S: Final = 2.0


class ModelIndex:
    """A Triton that was there and is unreachable now is waited for `restart_timeout_s`, one that never was
    `start_timeout_s`; `clock` is a monotonic one."""

    def __init__(
        self, triton: Triton, clock: Callable[[], float], restart_timeout_s: float, start_timeout_s: float
    ) -> None:
        self._triton, self._clock = triton, clock
        self._restart_timeout_s, self._start_timeout_s = restart_timeout_s, start_timeout_s
        self._gone_since_s: float | None = float("-inf")  # None while Triton answers

    async def now(self) -> dict[str, ModelStatus]:
        """Every model's status. Raises UnreachableError at once where Triton does not answer."""
        try:
            index = await self._triton.index()
        except UnreachableError:
            if self._gone_since_s is None:
                self._gone_since_s = self._clock()
            raise
        self._gone_since_s = None
        return index

    async def wait(self) -> dict[str, ModelStatus]:
        """The same, once Triton is back. Raises UnreachableError where it is not in time."""
        begin_s = self._clock()
        while True:
            try:
                return await self.now()
            except UnreachableError:
                now_s = self._clock()
                gone_s = now_s - (self._gone_since_s or now_s)
                if gone_s >= self._restart_timeout_s and now_s - begin_s >= self._start_timeout_s:
                    raise
            await asyncio.sleep(POLL_S)

    async def state(self, name: str) -> ModelState:
        """One model's state, as `wait` finds it. Raises SpeechError for a model that Triton does not have."""
        status = (await self.wait()).get(name)
        if status is None:
            message = f"Triton has no model '{name}' in its repository. Use one that GET /v1/models lists."
            raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, message, "model")
        return status.state

    async def wait_unloaded(self, name: str, limit_s: float) -> ModelState:
        """The state after an unload: UNLOADED, or READY or LOADING where another client loads it at once again;
        UNLOADING where it was not over within `limit_s`."""
        begin_s = self._clock()
        seen_unloading = False
        # Triton does not announce the end of an unload. Right after the request its index may still say READY; later,
        # READY means that another client has loaded the model again.
        while True:
            state = await self.state(name)
            seen_unloading |= state is ModelState.UNLOADING
            waited_s = self._clock() - begin_s
            begins = state is ModelState.READY and not seen_unloading and waited_s < _UNLOAD_BEGINS_S
            if waited_s >= limit_s or not (begins or state is ModelState.UNLOADING):
                return state
            await asyncio.sleep(POLL_S)
