"""An AudioSink that stores its input, with simulated disconnects and bounded waits."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from speech_engines.base import Samples
from speech_protocol.errors import SpeechError
from speech_protocol.events import EndEvent, Word

WAIT_S = 120.0


@dataclass(slots=True)
class CollectingSink:
    """`cancel_at_question` n: `is_cancelled` is true from its n-th call on, counted from 1."""

    cancel_at_question: int | None = None
    chunks: list[Samples] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    ended: EndEvent | None = None
    failed: SpeechError | None = None
    questions: int = 0
    endings: int = 0
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _done: threading.Event = field(default_factory=threading.Event)

    def audio(self, samples: Samples, words: Sequence[Word] = ()) -> None:
        self.chunks.append(samples.copy())
        self.words += words

    def end(self, event: EndEvent) -> None:
        self.ended = event
        self._finish()

    def error(self, error: SpeechError) -> None:
        self.failed = error
        self._finish()

    def is_cancelled(self) -> bool:
        self.questions += 1
        if self.cancel_at_question is not None and self.questions >= self.cancel_at_question:
            self._cancelled.set()
        return self._cancelled.is_set()

    def cancel(self) -> None:
        self._cancelled.set()

    @property
    def samples(self) -> Samples:
        return np.concatenate([*self.chunks, np.zeros(0, np.float32)])

    def wait(self, timeout_s: float = WAIT_S) -> "CollectingSink":
        """Return once the request ended or failed."""
        if not self._done.wait(timeout_s):
            raise TimeoutError(f"neither end nor error within {timeout_s} s")
        return self

    def result(self, timeout_s: float = WAIT_S) -> EndEvent:
        """The end event; raises the error if there was one."""
        self.wait(timeout_s)
        if self.failed is not None:
            raise self.failed
        assert self.ended is not None
        return self.ended

    def _finish(self) -> None:
        self.endings += 1
        self._done.set()
