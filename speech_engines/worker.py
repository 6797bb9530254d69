"""An Engine made from a function that yields chunks: one worker thread, a bounded queue, the most urgent stream first.

Each active request is a generator. The worker takes the next chunk of the stream that would run out of audio first, if
played since its first chunk; a stream without audio has been empty since its arrival. So with `max_active` over one, a
short request is not delayed by a long one, and a new request starts quickly, while the others have seconds of audio
buffered. A batching engine has its own scheduler instead.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, cast

from speech_engines.base import AudioSink, Capabilities, Samples
from speech_engines.faults import DeviceLostError, DeviceMemoryError, model_died, out_of_memory
from speech_engines.stats import Publish, Reporter
from speech_engines.watchdog import end_process
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import EndEvent, FinishReason, Word
from speech_protocol.request import SpeechRequest

logger = logging.getLogger(__name__)


class CancelledError(Exception):
    """Raised inside a synthesizer that finds its request cancelled in the middle of a chunk."""


class CutError(Exception):
    """Raised inside a synthesizer, at its yield, when its utterance reaches its limit: it then returns its summary."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The synthesizer's results at the end of an utterance."""

    text_tokens: int
    finish_reason: FinishReason = FinishReason.STOP
    warnings: tuple[str, ...] = ()


Chunk = tuple[Samples, Sequence[Word]]  # samples, [T] float32, and the words that start in them
Chunks = Generator[Samples | Chunk, None, Summary]


class Synthesizer(Protocol):
    """The computation of a worker engine; called from the worker thread only, except `check`."""

    @property
    def capabilities(self) -> Capabilities: ...

    def check(self, request: SpeechRequest) -> None:
        """Raise SpeechError if `request` can't be served. Cheap, and safe from any thread."""

    def synthesize(self, request: SpeechRequest, is_cancelled: Callable[[], bool]) -> Chunks:
        """Yield the utterance's samples, [T] float32 each, with their words if known, and return its summary."""
        ...

    def gpu_memory_bytes(self) -> int | None: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class _Row:
    request: SpeechRequest
    sink: AudioSink
    submitted_s: float
    limit_samples: int
    dry_at_s: float  # when its client has played everything that was sent
    chunks: Chunks | None = None
    started_s: float = 0.0
    first_chunk_s: float = 0.0
    busy_s: float = 0.0
    sent_samples: int = 0


@dataclass(slots=True)
class WorkerEngine:
    """Engine over a Synthesizer. `max_queue` limits queued requests, `max_active` those being synthesized. `end` ends
    the process when its device is lost."""

    synthesizer: Synthesizer
    max_queue: int = 64
    max_active: int = 1
    end: Callable[[], None] = end_process
    _queue: deque[_Row] = field(default_factory=deque, init=False)
    _active: list[_Row] = field(default_factory=list, init=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)
    _closed: bool = field(default=False, init=False)
    _reporter: Reporter = field(init=False)
    _steps: int = field(default=0, init=False)
    _step_s: float = field(default=0.0, init=False)
    _samples: int = field(default=0, init=False)
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._reporter = Reporter(self._stats)
        self._thread = threading.Thread(target=self._run, name=f"engine-{self.capabilities.engine}", daemon=True)
        self._thread.start()

    @property
    def capabilities(self) -> Capabilities:
        return self.synthesizer.capabilities

    def gpu_memory_bytes(self) -> int | None:
        return self.synthesizer.gpu_memory_bytes()

    def submit(self, request: SpeechRequest, sink: AudioSink) -> None:
        self.synthesizer.check(request)
        cap_s = min(request.max_audio_seconds or float("inf"), self.capabilities.max_audio_seconds)
        now_s = time.perf_counter()
        row = _Row(request, sink, now_s, int(cap_s * SAMPLE_RATE_HZ), now_s)
        with self._changed:
            if self._closed:
                raise SpeechError(ErrorCode.SHUTTING_DOWN, "The model is being unloaded. Send the request again.")
            if self._is_full():
                self._drop_cancelled(self._queue)
            if self._is_full():
                raise SpeechError(
                    ErrorCode.QUEUE_FULL, f"The engine's queue is full ({self.max_queue} requests). Retry later."
                )
            self._queue.append(row)
            self._changed.notify()

    def report_to(self, publish: Publish) -> None:
        self._reporter.publish = publish

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _is_full(self) -> bool:
        """Requests that the worker will admit in its next iteration do not count."""
        return len(self._queue) >= self.max_queue + self.max_active - len(self._active)

    def _run(self) -> None:
        try:
            while self._admit():
                begin_s = time.perf_counter()
                self._step(min(self._active, key=lambda row: row.dry_at_s))
                self._steps += 1
                self._step_s += time.perf_counter() - begin_s
                self._reporter.report(is_idle=not self._active and not self._queue)
        finally:
            self.synthesizer.close()

    def _stats(self) -> dict[str, float]:
        return {
            "tts_engine_active_rows": len(self._active),
            "tts_engine_rows": self.max_active,
            "tts_engine_waiting_requests": len(self._queue),
            "tts_engine_steps_total": self._steps,
            "tts_engine_step_seconds_total": self._step_s,
            "tts_engine_frames_total": self._samples / FRAME_SAMPLES,
        }

    def _admit(self) -> bool:
        """Wait for work and move queued requests into free rows; False once the engine is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._queue or self._active)
            if self._queue and len(self._active) == self.max_active:
                self._drop_cancelled(self._active)
            while self._queue and len(self._active) < self.max_active:
                self._active.append(self._queue.popleft())
            if not self._closed:
                return True
            leaving = [*self._active, *self._queue]
            self._queue.clear()
        for row in leaving:
            if row.chunks is not None:
                row.chunks.close()
            row.sink.error(SpeechError(ErrorCode.SHUTTING_DOWN, "The model was unloaded. Send the request again."))
        self._active.clear()
        return False

    def _drop_cancelled(self, rows: deque[_Row] | list[_Row]) -> None:
        """End the rows of disconnected clients, which frees them for others."""
        for row in [row for row in rows if row.sink.is_cancelled()]:
            if row.chunks is not None:
                row.chunks.close()
            rows.remove(row)
            self._end(row, Summary(0, FinishReason.CANCELLED))

    def _step(self, row: _Row) -> None:
        """One chunk of one row; the row ends with exactly one `end` or `error`, whatever happens."""
        begin = time.perf_counter()
        try:
            if row.sink.is_cancelled():
                raise CancelledError
            if row.chunks is None:
                row.started_s = begin
                row.chunks = self.synthesizer.synthesize(row.request, lambda: self._closed or row.sink.is_cancelled())
            chunk = next(row.chunks)
            row.busy_s += time.perf_counter() - begin
            self._deliver(row, *(chunk if isinstance(chunk, tuple) else (chunk, ())))
        except StopIteration as stop:
            row.busy_s += time.perf_counter() - begin
            self._finish(row, stop.value)
        except CancelledError:
            if not self._closed:  # else _admit fails the row
                self._finish(row, Summary(0, FinishReason.CANCELLED))
        except SpeechError as error:
            self._fail(row, error)
        except DeviceMemoryError:
            self._fail(row, out_of_memory())
        except DeviceLostError as error:
            self._give_up(error)
        except Exception as error:  # one request's failure must not end the others
            logger.exception("request %s failed (trace %s)", row.request.request_id, row.request.traceparent or "none")
            self._fail(
                row,
                SpeechError(ErrorCode.ENGINE_FAILURE, f"The engine failed ({type(error).__name__}). Its log says why."),
            )

    def _deliver(self, row: _Row, samples: Samples, words: Sequence[Word]) -> None:
        if not row.first_chunk_s:
            row.first_chunk_s = time.perf_counter() - row.started_s
        room = row.limit_samples - row.sent_samples
        if room:
            row.sink.audio(samples[:room], [word for word in words if word.start < room])
            row.sent_samples += min(len(samples), room)
            self._samples += min(len(samples), room)
            row.dry_at_s = max(row.dry_at_s, time.perf_counter()) + len(samples) / SAMPLE_RATE_HZ
        # An utterance with exactly the maximum length may end by itself, with its own summary.
        if len(samples) > room:
            self._finish(row, replace(_cut(row.chunks), finish_reason=FinishReason.LENGTH))

    def _finish(self, row: _Row, summary: Summary) -> None:
        if row.chunks is not None:
            row.chunks.close()
        self._active.remove(row)
        self._end(row, summary)

    def _fail(self, row: _Row, error: SpeechError) -> None:
        self._active.remove(row)
        row.sink.error(error)

    def _give_up(self, error: DeviceLostError) -> None:
        """The device is lost: fail all requests, and end the process."""
        logger.critical("the device is lost (%s): ending this process", error)
        with self._changed:
            self._closed = True
            leaving = [*self._active, *self._queue]
            self._active.clear()
            self._queue.clear()
        for row in leaving:
            row.sink.error(model_died())
        self.end()

    def _end(self, row: _Row, summary: Summary) -> None:
        started_s = row.started_s or time.perf_counter()
        row.sink.end(
            EndEvent(
                finish_reason=summary.finish_reason,
                audio_samples=row.sent_samples,
                text_tokens=summary.text_tokens,
                queue_s=round(started_s - row.submitted_s, 6),
                first_chunk_s=round(row.first_chunk_s, 6),
                synthesis_s=round(row.busy_s, 6),
                warnings=summary.warnings,
            )
        )


def _cut(chunks: Chunks | None) -> Summary:
    """The summary of an utterance so far."""
    assert chunks is not None
    try:
        chunks.throw(CutError)
    except StopIteration as stop:
        return cast(Summary, stop.value)
    except CutError:
        pass  # it has no count
    return Summary(0)
