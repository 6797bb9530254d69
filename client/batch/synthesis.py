"""Synthesizes utterances with the speech models of one Triton: concurrently up to a limit, with retries."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from speech_client.repository import Repository
from speech_client.triton import Triton
from speech_protocol.control import read_key
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import GUARD_REASONS, FinishReason
from speech_protocol.request import SpeechRequest

from ..stream import Speaker, Spoken
from .failures import UnreachableError
from .store import Store
from .voices import Job

LOAD_TIMEOUT_S: Final = 900.0
_POLL_S: Final = 0.5
_MAX_PAUSE_S: Final = 8.0
_AWAY: Final = {ErrorCode.MODEL_UNAVAILABLE, ErrorCode.MODEL_DIED, ErrorCode.SHUTTING_DOWN}
_BUSY: Final = {ErrorCode.QUEUE_FULL, ErrorCode.BUSY}
# Errors that a retry does not resolve.
_FINAL: Final = {ErrorCode.CHECKPOINT_UNAVAILABLE, ErrorCode.WRONG_CHECKPOINT}
# An utterance that fails this often while others succeed is itself the cause.
_MAX_FAILURES: Final = 5
# Attempts with another seed for a runaway utterance.
_RUNAWAYS: Final = 2
# One utterance in this many checks the checkpoint.
_PROBES: Final = 5


class Watcher(Protocol):
    """Receives the progress of a run."""

    def began(self, job: Job) -> None:
        """An utterance is in flight."""

    def ended(self, job: Job) -> None:
        """An utterance was synthesized, or failed."""


class BatchSynthesizer:
    """Synthesizes with one Triton; use it as an async context manager. `patience_s`: how long to wait for an
    unreachable Triton, or for a queue that stays full."""

    def __init__(self, url: str, concurrency: int, patience_s: float) -> None:
        self._url, self._concurrency, self._patience_s = f"http://{url}", concurrency, patience_s
        self._bringing_up = asyncio.Lock()
        self._up_s: dict[str, float] = {}
        self._success_s = 0.0
        # The reason for missing audio of an utterance, by its key.
        self.failures: dict[str, str] = {}

    async def __aenter__(self) -> "BatchSynthesizer":
        self._triton = Triton(self._url, LOAD_TIMEOUT_S, read_key())
        await self._triton.__aenter__()
        self._repository, self._speaker = Repository(self._triton), Speaker(self._triton)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._speaker.aclose()
        await self._triton.__aexit__()

    async def prepare(self, jobs: Iterable[Job], store: Store) -> None:
        """Ensure that stored utterances are from the current checkpoints, if more are needed: one utterance of each
        model is synthesized, and if its checkpoint differs, the stored ones are discarded. Raises UnreachableError."""
        for model, each in _by_model(jobs).items():
            missing = [job for job in each if not store.has(job)]
            if not missing or len(missing) == len(each):
                continue
            await self._bring_up(model, 0.0, dead=False)
            for job in missing[:_PROBES]:
                if await self._speak_into(store, job, may_change=True):
                    break

    async def run(self, jobs: Iterable[Job], store: Store, watcher: "Watcher") -> None:
        """Synthesize all utterances that are not stored, in order, one model after another. Raises UnreachableError."""
        for model, each in _by_model(jobs).items():
            missing = [job for job in each if not store.has(job) and job.key not in self.failures]
            if missing:
                await self._bring_up(model, 0.0, dead=False)
                await self._run_model(missing, store, watcher)

    async def _run_model(self, jobs: Sequence[Job], store: Store, watcher: "Watcher") -> None:
        queue = iter(jobs)

        async def work() -> None:
            for job in queue:
                watcher.began(job)
                await self._speak_into(store, job)
                watcher.ended(job)

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(self._concurrency, len(jobs))):
                    workers.create_task(work())
        except* UnreachableError as group:
            raise group.exceptions[0] from None

    async def _speak_into(self, store: Store, job: Job, *, may_change: bool = False) -> bool:
        """Synthesize an utterance; returns whether the model did. Without audio, the reason is in `failures`.
        `may_change`: the checkpoint may differ from that of the previous run."""
        model = job.voice.model
        try:
            spoken = await self._speak(job)
        except SpeechError as error:
            if error.code is not ErrorCode.UNSPEAKABLE_TEXT:
                self.failures[job.key] = error.message
            else:
                store.keep(job, b"", "skipped: the model can pronounce nothing of it")
            return False
        if store.checkpoint(model) is None or may_change:
            store.use_checkpoint(model, spoken.checkpoint)
        elif store.checkpoint(model) != spoken.checkpoint:
            raise UnreachableError(f"'{model}' serves another checkpoint than it did at the start of this run.")
        notes = list(spoken.end.warnings)
        if spoken.end.finish_reason is not FinishReason.STOP:
            notes.append(f"not complete ({spoken.end.finish_reason})")
        if store.needs_words and spoken.pcm and not spoken.words:
            self.failures[job.key] = f"'{model}' sent no word times"
            return False
        store.keep(job, spoken.pcm, "; ".join(notes), spoken.words)
        return True

    async def _speak(self, job: Job) -> Spoken:
        """Synthesize an utterance; a runaway one is retried with another seed. Raises SpeechError and
        UnreachableError."""
        for number in range(_RUNAWAYS + 1):
            request = replace(job.request, seed=(job.request.seed or 0) + number)
            spoken = await self._persist(job.voice.model, request)
            if spoken.end.finish_reason not in GUARD_REASONS:
                break
        return spoken

    async def _persist(self, model: str, request: SpeechRequest) -> Spoken:
        """Retry with growing pauses. Raises SpeechError if retrying is useless, and UnreachableError after
        `patience_s`."""
        failed_s: float | None = None  # since when
        failures, pause_s = 0, _POLL_S
        while True:
            asked_s = time.monotonic()
            try:
                spoken = await self._speaker.speak(model, request)
            except SpeechError as error:
                failure = error
                if error.code not in {*_AWAY, *_BUSY, ErrorCode.ENGINE_FAILURE}:
                    raise
            except (OSError, ValueError) as error:
                text = f"the connection to '{model}' failed ({type(error).__name__})"
                failure = SpeechError(ErrorCode.MODEL_UNAVAILABLE, text)
            else:
                self._success_s = time.monotonic()
                return spoken
            now_s = time.monotonic()
            failed_s = asked_s if failed_s is None else failed_s
            failures += failure.code not in _BUSY
            others_work = self._success_s > failed_s
            if failure.code is ErrorCode.ENGINE_FAILURE:
                if failures > 1:
                    raise failure
            elif failures >= _MAX_FAILURES and others_work:
                raise failure
            elif now_s - max(failed_s, self._success_s) >= self._patience_s:
                raise UnreachableError(failure.message)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)
            if failure.code in _AWAY:
                await self._bring_up(model, asked_s, dead=failure.code is ErrorCode.MODEL_DIED)

    async def _bring_up(self, model: str, since_s: float, *, dead: bool) -> None:
        """Load a model, unless that was done after `since_s`. Raises UnreachableError when it takes too long."""
        async with self._bringing_up:
            if self._up_s.get(model, -1.0) > since_s:
                return
            begin_s = time.monotonic()
            while True:
                try:
                    await self._repository.bring_up(model, dead=dead, limit_s=self._patience_s)
                    self._up_s[model] = time.monotonic()
                    return
                except SpeechError as error:
                    is_unknown = error.param == "model"
                    if is_unknown or error.code in _FINAL or time.monotonic() - begin_s >= self._patience_s:
                        raise UnreachableError(error.message) from None
                await asyncio.sleep(_POLL_S)


def _by_model(jobs: Iterable[Job]) -> dict[str, list[Job]]:
    """The jobs of each model in order, without duplicates."""
    found: dict[str, dict[str, Job]] = {}
    for job in jobs:
        found.setdefault(job.voice.model, {})[job.key] = job
    return {model: list(each.values()) for model, each in found.items()}
