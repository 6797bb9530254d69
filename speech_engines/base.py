"""The Engine protocol, implemented by every speech engine, with or without batching.

An engine has one worker thread, and only that thread computes. `submit` puts a request into a bounded queue and returns
immediately; audio is passed to the request's sink during synthesis.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from speech_engines.stats import Publish
from speech_protocol.errors import SpeechError
from speech_protocol.events import EndEvent, Word
from speech_protocol.models import Task
from speech_protocol.request import SpeechRequest

Samples = npt.NDArray[np.float32]  # [T] mono, 24 kHz, -1 to 1


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The fixed properties of an engine."""

    engine: str
    checkpoint: str
    device: str
    task: Task
    languages: tuple[str, ...]
    speakers: tuple[str, ...] = ()
    max_audio_seconds: float = 600.0
    supports_instructions: bool = False
    notes: tuple[str, ...] = ()  # sentences about degraded operation


class AudioSink(Protocol):
    """The destination of one request's audio. An engine calls it from its worker thread: `audio` any number of times,
    then exactly one of `end` and `error`. No call raises: a disconnected receiver is reported by `is_cancelled`."""

    def audio(self, samples: Samples, words: Sequence[Word] = ()) -> None:
        """Deliver the next samples, [T] float32, and the words that start in them."""

    def end(self, event: EndEvent) -> None:
        """All audio was delivered, or the request was cancelled."""

    def error(self, error: SpeechError) -> None:
        """The request failed."""

    def is_cancelled(self) -> bool:
        """Whether the client has disconnected. Engines poll between steps and stop within one of them."""
        ...


@runtime_checkable
class AppendingEngine(Protocol):
    """An engine that speaks a text while it is written."""

    def append(self, request: SpeechRequest) -> int:
        """Add the text of `request` to the open text of its stream, and close it if its action says so. Returns the
        number of text tokens so far. Raises SpeechError."""
        ...


class Engine(Protocol):
    """Turns requests into audio."""

    @property
    def capabilities(self) -> Capabilities:
        """The fixed properties of the engine."""

    def submit(self, request: SpeechRequest, sink: AudioSink) -> None:
        """Queue a request and return immediately. Raises SpeechError if it can't be served or the queue is full; the
        sink is then never called."""

    def gpu_memory_bytes(self) -> int | None:
        """Device memory in use, in bytes; None without a GPU."""
        ...

    def report_to(self, publish: Publish) -> None:
        """Publish the engine's statistics to `report`, by family, on the worker thread."""

    def close(self) -> None:
        """Fail queued and running requests with `shutting_down`, stop the worker and free the device. Idempotent."""
