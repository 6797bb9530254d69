"""Utterances through a speech model of Triton: so many at a time, tried again where that helps."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from tritonclient.http.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from client.batch.plan import Utterance
from client.batch.store import Store
from client.stream import whole
from speech_protocol.control import headers, read_key
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import FinishReason
from speech_protocol.stream import error_from_triton

LOAD_TIMEOUT_S: Final = 900.0
_POLL_S: Final = 0.5
_GONE_S: Final = 5.0
_CONNECT_S: Final = 10.0
_AWAY: Final = {ErrorCode.MODEL_UNAVAILABLE, ErrorCode.MODEL_DIED, ErrorCode.SHUTTING_DOWN}
# What waiting does not mend.
_FOR_GOOD: Final = {ErrorCode.CHECKPOINT_UNAVAILABLE, ErrorCode.WRONG_CHECKPOINT}


class UnreachableError(Exception):
    """Triton, or the model, is not to be had; what was done is kept."""


@dataclass(slots=True)
class Report:
    """What became of a run's utterances, by key."""

    failures: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)


class BatchSynthesizer:
    """Speaks through one Triton with one model; use it as an async context manager. `patience_s`: how long one that is
    away is waited for."""

    def __init__(self, url: str, model: str, concurrency: int, patience_s: float) -> None:
        self._url, self._model, self._concurrency, self._patience_s = url, model, concurrency, patience_s
        self._bringing_up = asyncio.Lock()
        self._up_s = 0.0
        self.report = Report()

    async def __aenter__(self) -> "BatchSynthesizer":
        self._client = InferenceServerClient(self._url, conn_timeout=LOAD_TIMEOUT_S)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._client.close()

    async def run(
        self, utterances: Iterable[Utterance], store: Store, done: Callable[[Utterance, bytes], None]
    ) -> None:
        """Speak all that the store has not, the longest first, so that the batch stays full to the end. Raises
        UnreachableError."""
        waiting = sorted({each.key: each for each in utterances}.values(), key=lambda each: -each.width)
        waiting = [each for each in waiting if not store.has(each.key)]
        queue = iter(waiting)

        async def work() -> None:
            for utterance in queue:
                pcm = await self._speak(utterance)
                if pcm is not None:
                    store.keep(utterance.key, pcm)
                    done(utterance, pcm)

        if not waiting:
            return
        await self._patiently(self._up_s, dead=False)
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(self._concurrency):
                    workers.create_task(work())
        except* UnreachableError as group:
            raise group.exceptions[0] from None

    async def _speak(self, utterance: Utterance) -> bytes | None:
        """PCM; none, and a failure in the report, where trying again would not help."""
        failures = 0
        begin_s = time.monotonic()
        while True:
            since_s = self._up_s
            try:
                url, key = f"http://{self._url}", read_key()
                pcm, end = await whole(self._session, url, self._model, utterance.request, key)
            except SpeechError as error:
                if error.code is ErrorCode.UNSPEAKABLE_TEXT:
                    self.report.warnings[utterance.key] = "left out: there is nothing to pronounce"
                    return b""
                if error.code in {*_AWAY, ErrorCode.QUEUE_FULL}:
                    if time.monotonic() - begin_s >= self._patience_s:
                        raise UnreachableError(error.message) from None
                    await asyncio.sleep(_POLL_S)
                    if error.code in _AWAY:
                        await self._patiently(since_s, dead=error.code is ErrorCode.MODEL_DIED)
                    continue
                failures += 1
                if error.code is not ErrorCode.ENGINE_FAILURE or failures > 1:
                    self.report.failures[utterance.key] = error.message
                    return None
            except (aiohttp.ClientError, TimeoutError, OSError):
                await self._patiently(since_s, dead=False)
            else:
                if end.finish_reason is not FinishReason.STOP:
                    self.report.warnings[utterance.key] = f"not complete ({end.finish_reason})"
                return pcm

    async def _bring_up(self, *, dead: bool) -> None:
        """Through Triton's repository API; a `dead` model is unloaded first. Raises as Triton's client does."""
        key = headers(read_key())
        state = await self._state(key)
        if dead and state == "READY":
            await self._client.unload_model(self._model, headers=key)
            await self._until_gone(key, _GONE_S)  # one that died may stay UNLOADING for ever
        elif state == "UNLOADING":
            # A load now would run two copies at once.
            await self._until_gone(key, self._patience_s)
        if dead or state != "READY":
            await self._client.load_model(self._model, headers=key)

    async def _state(self, key: dict[str, str]) -> str:
        index = await self._client.get_model_repository_index(headers=key)
        states = [str(row.get("state", "")) for row in index if row["name"] == self._model]
        if not states:
            raise UnreachableError(f"There is no model '{self._model}'.")
        return states[0]

    async def _until_gone(self, key: dict[str, str], limit_s: float) -> None:
        for _ in range(round(limit_s / _POLL_S)):
            if await self._state(key) not in {"READY", "UNLOADING"}:
                return
            await asyncio.sleep(_POLL_S)

    async def _patiently(self, since_s: float, *, dead: bool) -> None:
        """Bring the model up, unless somebody did after `since_s`. Raises UnreachableError when it takes too long."""
        async with self._bringing_up:
            if self._up_s > since_s:
                return
            begin_s = time.monotonic()
            while True:
                try:
                    await self._bring_up(dead=dead)
                    self._up_s = time.monotonic()
                    return
                except (InferenceServerException, aiohttp.ClientError, TimeoutError, OSError) as error:
                    text = str(error.message()) if isinstance(error, InferenceServerException) else str(error)
                    found = error_from_triton(text, self._model)
                    if found.code in _FOR_GOOD or time.monotonic() - begin_s >= self._patience_s:
                        raise UnreachableError(found.message) from None
                await asyncio.sleep(_POLL_S)
