"""Checks whether a model's process is alive: Triton's index lists a crashed model as READY."""

import asyncio
from collections.abc import Callable

from speech_client.triton import Triton
from speech_protocol.errors import ErrorCode, SpeechError


class ReplacedError(SpeechError):
    """The process that served the request has ended, and another one serves the model."""


class Liveness:
    """Probes the models' processes. Streams of one model share a probe in flight."""

    def __init__(self, triton: Triton) -> None:
        self._triton = triton
        self._probes: dict[str, asyncio.Task[str | None]] = {}

    async def check(self, model: str, process: str, is_replaced: Callable[[], bool] = lambda: False) -> None:
        """Raises SpeechError MODEL_DIED if the model has no process, ReplacedError if its process is no longer
        `process`, or `is_replaced` says so: other clients load models, too. No answer in time counts as alive."""
        probe = self._probes.get(model)
        if probe is None or probe.done():
            probe = self._probes[model] = asyncio.create_task(self._process_of(model))
        found = await asyncio.shield(probe)
        message = f"The model '{model}' crashed and is being restarted. Retry in a moment."
        if found is None:
            raise SpeechError(ErrorCode.MODEL_DIED, message)
        if is_replaced() or (process and found and process != found):
            raise ReplacedError(ErrorCode.MODEL_DIED, message)

    async def aclose(self) -> None:
        """Cancel the probes in flight."""
        for probe in self._probes.values():
            probe.cancel()
        await asyncio.gather(*self._probes.values(), return_exceptions=True)

    async def _process_of(self, model: str) -> str | None:
        # Twice, since one slow answer must not end the streams of a live process.
        found = await self._triton.process_of(model)
        return found if found is not None else await self._triton.process_of(model)
