"""Utterances of a forced length through the Engine protocol, with the times of their audio."""

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from speech_engines.base import Engine, Samples
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from speech_protocol.errors import SpeechError
from speech_protocol.events import EndEvent, Word
from speech_protocol.request import SpeechRequest

TEXT = "The quick brown fox jumps over the lazy dog, and then it does so again."
FRAMES_PER_SECOND = SAMPLE_RATE_HZ / FRAME_SAMPLES
WAIT_S = 1800.0


@dataclass(slots=True)
class TimedSink:
    """An AudioSink that stores the arrival time of each chunk, in seconds since `begin_s`, and its number of
    samples."""

    begin_s: float = field(default_factory=time.perf_counter)
    chunks: list[tuple[float, int]] = field(default_factory=list)
    done_s: float = 0.0
    failure: SpeechError | None = None
    heard: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def first_s(self) -> float:
        return self.chunks[0][0]

    @property
    def frames(self) -> int:
        return sum(samples for _, samples in self.chunks) // FRAME_SAMPLES

    def audio(self, samples: Samples, words: Sequence[Word] = ()) -> None:
        self.chunks.append((time.perf_counter() - self.begin_s, len(samples)))
        self.heard.set()

    def end(self, event: EndEvent) -> None:
        self._finish()

    def error(self, error: SpeechError) -> None:
        self.failure = error
        self._finish()

    def is_cancelled(self) -> bool:
        return self.cancelled.is_set()

    def wait_heard(self) -> None:
        self._wait(self.heard)

    def wait_done(self) -> None:
        self._wait(self.done)

    def _finish(self) -> None:
        self.done_s = time.perf_counter() - self.begin_s
        self.done.set()
        self.heard.set()

    def _wait(self, event: threading.Event) -> None:
        if not event.wait(WAIT_S):
            raise TimeoutError(f"no audio within {WAIT_S:g} s")
        if self.failure is not None:
            raise self.failure


def begin(engine: Engine, frames: int, seed: int = 0, text: str = TEXT, sink: TimedSink | None = None) -> TimedSink:
    """Start one utterance that ends after `frames` frames, unless the checkpoint ends it before."""
    seconds = frames / FRAMES_PER_SECOND + 1e-6  # rounded down to samples, so that it must not be slightly too short
    request = SpeechRequest(text, speaker="ryan", seed=seed, max_audio_seconds=seconds)
    sink = sink or TimedSink()
    engine.submit(request, sink)
    return sink


def finish(sinks: Iterable[TimedSink], frames: int) -> None:
    """Wait for all, and reject utterances of another length, which are not comparable."""
    for sink in sinks:
        sink.wait_done()
        if sink.frames != frames:
            raise RuntimeError(f"an utterance has {sink.frames} frames, not {frames}; use a checkpoint that never ends")


def speak_s(engine: Engine, streams: int, frames: int) -> float:
    """Seconds for `streams` utterances at once, from the first request to the last sample."""
    begin_s = time.perf_counter()
    finish([begin(engine, frames, seed) for seed in range(streams)], frames)
    return time.perf_counter() - begin_s


def hang_up(sinks: Iterable[TimedSink]) -> None:
    """Cancel, and wait until the rows are free."""
    sinks = list(sinks)
    for sink in sinks:
        sink.cancelled.set()
    for sink in sinks:
        sink.wait_done()
