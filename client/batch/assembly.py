"""Joins utterances into recordings during synthesis: the next utterance in order is encoded as soon as it is
complete."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from .captions import CaptionWriter, Sidecar, WordWriter
from .encoding import Tags, open_audio
from .mp4 import Mark
from .plan import Work
from .recorder import Clip, Recorder
from .store import Speech, Store
from .voices import Job

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Part:
    """An item with its jobs; a job is None if the server rejected its voice."""

    work: Work
    jobs: tuple[Job | None, ...]


@dataclass(slots=True)
class Outcome:
    """The outcome of a run: incomplete items, and the length of the written audio."""

    incomplete: list[Work] = field(default_factory=list)
    written: int = 0
    length_s: float = 0.0
    marks: list[Mark] = field(default_factory=list)
    clips: list[list[Clip]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Target:
    """The destination of recordings. `words`: with word times; `strict`: an item that lacks an utterance produces no
    file, since a dataset must not have wrong rows; a book continues without it."""

    folder: Path
    file_format: str
    captions: str | None
    words: bool
    strict: bool

    def open(self, name: str, tags: Tags, *, chapters: bool) -> Recorder:
        audio = open_audio(self.folder / f"{name}.{self.file_format}", self.file_format, tags, chapters=chapters)
        sidecars: list[Sidecar] = []
        if self.captions:
            sidecars.append(CaptionWriter(self.folder / f"{name}.{self.captions}", self.captions))
        if self.words:
            sidecars.append(WordWriter(self.folder / f"{name}.words.json"))
        return Recorder(audio, sidecars)


class Assembler:
    """Waits for utterances in order and writes them; encoding runs in a separate thread beside the synthesis."""

    def __init__(self, parts: Sequence[Part], store: Store, failures: Mapping[str, str], target: Target) -> None:
        self._parts, self._store, self._failures, self._target = parts, store, failures, target
        self._changed = asyncio.Event()
        self._over = False
        self.outcome = Outcome()

    def wake(self) -> None:
        """Notify: an utterance has been synthesized, or has failed."""
        self._changed.set()

    def end(self) -> None:
        """No more utterances will follow: those that are missing now stay missing."""
        self._over = True
        self._changed.set()

    async def write_files(self, tags_of: Callable[[int, Work], Tags]) -> None:
        """Write one file for each item."""
        for number, part in enumerate(self._parts, 1):
            await self._write_file(part, tags_of(number, part.work))

    async def _write_file(self, part: Part, tags: Tags) -> None:
        recorder: Recorder | None = None
        try:
            is_whole = True
            for job in part.jobs:
                speech = await self._speech(job)
                is_whole = is_whole and speech is not None
                if speech is None and self._target.strict:
                    break
                if job is not None and speech is not None and speech.pcm:
                    if recorder is None:
                        recorder = await _in_thread(self._open, part, tags)
                    await _in_thread(recorder.add, job, speech)
            if not is_whole:
                self.outcome.incomplete.append(part.work)
            if recorder is not None and (is_whole or not self._target.strict):
                await _in_thread(recorder.finish)
                self.outcome.written += 1
                self.outcome.length_s += recorder.length_s
        finally:
            if recorder is not None:
                recorder.abort()

    def _open(self, part: Part, tags: Tags) -> Recorder:
        recorder = self._target.open(part.work.item.name, tags, chapters=False)
        recorder.begin_chapter(part.work.title)
        return recorder

    async def write_book(self, name: str, tags: Tags) -> None:
        """Write one file with a chapter for each item; chapters without any audio are omitted."""
        recorder = await _in_thread(self._target.open, name, tags, chapters=True)
        try:
            for number, part in enumerate(self._parts, 1):
                is_begun, is_whole = False, True
                for job in part.jobs:
                    speech = await self._speech(job)
                    is_whole = is_whole and speech is not None
                    if job is not None and speech is not None and speech.pcm:
                        if not is_begun:
                            await _in_thread(recorder.begin_chapter, part.work.item.title or f"{number}")
                        is_begun = True
                        await _in_thread(recorder.add, job, speech)
                self.outcome.written += is_begun
                self.outcome.clips.append(recorder.clips[-1] if is_begun else [])
                if not is_whole:
                    self.outcome.incomplete.append(part.work)
            if self.outcome.written:
                await _in_thread(recorder.finish)
                self.outcome.length_s = recorder.length_s
                self.outcome.marks = recorder.marks
        finally:
            recorder.abort()

    async def _speech(self, job: Job | None) -> Speech | None:
        """Wait for the next utterance; None if there will be no audio."""
        if job is None:
            return None
        while not self._store.has(job):
            if self._over or job.key in self._failures:
                return None
            self._changed.clear()
            await self._changed.wait()
        return await _in_thread(self._store.read, job)


async def _in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run in a thread, and return when it has ended, even if cancelled: an encoder must not be closed while it is
    working."""
    running = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait((running,))
        raise
