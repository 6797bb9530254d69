"""Time to first audio and × real time, measured through the engine of the Triton model."""

import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from speech_engines.base import Engine, Samples
from speech_engines.qwen3_tts.check.agreement import request_of
from speech_protocol.audio import SAMPLE_RATE_HZ
from speech_protocol.errors import SpeechError
from speech_protocol.events import EndEvent, Word

_WAIT_S = 900.0


@dataclass(slots=True)
class _Sink:
    begin_s: float = field(default_factory=time.perf_counter)
    first_s: float = 0.0
    samples: int = 0
    failure: SpeechError | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def audio(self, samples: Samples, words: Sequence[Word] = ()) -> None:
        self.first_s = self.first_s or time.perf_counter() - self.begin_s
        self.samples += len(samples)

    def end(self, event: EndEvent) -> None:
        self.done.set()

    def error(self, error: SpeechError) -> None:
        self.failure = error
        self.done.set()

    def is_cancelled(self) -> bool:
        return False


def measure(engine: Engine, rows: int, seconds: float) -> dict[str, float]:
    """`streams` requests at once, of at most `seconds` seconds each. Raises SpeechError or TimeoutError."""
    begin_s = time.perf_counter()
    sinks = [_Sink() for _ in range(rows)]
    for number, sink in enumerate(sinks):
        request = request_of(engine.capabilities.task, seed=number, max_audio_seconds=seconds)
        engine.submit(request, sink)
    for sink in sinks:
        if not sink.done.wait(_WAIT_S):
            raise TimeoutError(f"no end within {_WAIT_S:g} s")
        if sink.failure is not None:
            raise sink.failure
    wall_s = time.perf_counter() - begin_s
    audio_s = sum(sink.samples for sink in sinks) / SAMPLE_RATE_HZ
    return {
        "rows": rows,
        "ttfa_ms": round(1e3 * statistics.median(sink.first_s for sink in sinks), 1),
        "x_real_time": round(audio_s / wall_s, 3),
        "audio_s": round(audio_s, 2),
    }
