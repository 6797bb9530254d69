"""Continuous batching: requests join and leave at frame granularity, and one thread owns the batch.

Each iteration prefills newly admitted requests one after another within the time of a decode step, decodes one frame
for every active sequence, then runs the codec for the chunks that are due. Two more threads offload this one: one
computes new voices, one delivers audio (see `delivery`).
"""

import logging
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence as Codes
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import Final

from speech_engines.base import AudioSink, Capabilities
from speech_engines.delivery import DeliveryThread
from speech_engines.faults import DeviceLostError, DeviceMemoryError, model_died, out_of_memory
from speech_engines.qwen3_tts.batching.open_text import TEXT_TIMEOUT_S
from speech_engines.qwen3_tts.batching.runner_protocol import ModelRunner
from speech_engines.qwen3_tts.batching.scheduler import Scheduler
from speech_engines.qwen3_tts.batching.sequence import Sequence, Stage, limit_samples_of
from speech_engines.stats import Publish, Reporter
from speech_engines.watchdog import Watchdog, end_process
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import GUARD_REASONS, FinishReason
from speech_protocol.request import SpeechRequest, StreamAction

logger = logging.getLogger(__name__)

DEFAULT_RAMP = (1, 2, 4, 8, 12)
# The time to deliver the errors of a lost device; streams without one end with the process.
_LAST_WORDS_S: Final = 5.0


class BatchEngine:
    """The Engine over a ModelRunner. `watchdog` limits the time of each iteration; `end` ends the process when the
    device is lost."""

    def __init__(
        self,
        runner: ModelRunner,
        capabilities: Capabilities,
        max_queue: int,
        ramp: tuple[int, ...] = DEFAULT_RAMP,
        watchdog: Watchdog | None = None,
        end: Callable[[], None] = end_process,
        *,
        guarded: bool = True,
    ) -> None:
        self.capabilities = capabilities
        self._runner = runner
        self._scheduler = Scheduler(runner.slots, runner.cache_positions, max_queue, ramp)
        self._watchdog = watchdog or nullcontext()
        self._changed = threading.Condition()
        self._end_process = end
        self._guarded_utterances = guarded
        self._closed = self._hung_up = self._lost = False
        self._steps, self._step_s, self._frames, self._guard_trips = 0, 0.0, 0, 0
        self._pauses = 0
        self._reporter = Reporter(self._stats)
        self._delivery = DeliveryThread(f"outbox-{capabilities.engine}", self._wake)
        self._voices = ThreadPoolExecutor(1, f"voices-{capabilities.engine}")
        self._thread = threading.Thread(target=self._run, name=f"engine-{capabilities.engine}", daemon=True)
        self._thread.start()

    def gpu_memory_bytes(self) -> int | None:
        return self._runner.gpu_memory_bytes()

    def submit(self, request: SpeechRequest, sink: AudioSink) -> None:
        plan = self._runner.plan(request)
        delivered = self._delivery.wrap(sink)
        sequence = Sequence(request, delivered, plan, self._limit_of(request), self._guarded_utterances)
        sequence.stage = Stage.WAITING if self._runner.is_prepared(request, plan) else Stage.PREPARING
        with self._changed:
            if self._closed:
                raise SpeechError(ErrorCode.SHUTTING_DOWN, "The model is being unloaded. Send the request again.")
            if sequence.open_text and self._scheduler.find(request.stream_id):
                message = f"A stream '{request.stream_id}' is open already. Choose another stream_id."
                raise SpeechError(ErrorCode.INVALID_REQUEST, message, "stream_id")
            self._enqueue(sequence)
            delivered.watch()
            if sequence.stage is Stage.PREPARING:
                self._voices.submit(self._prepare, sequence)
            self._changed.notify()

    def append(self, request: SpeechRequest) -> int:
        with self._changed:
            row = self._scheduler.find(request.stream_id)
            if row is None or row.open_text is None or row.open_text.is_closed:
                message = f"No text of a stream '{request.stream_id}' is open here. Open another stream."
                raise SpeechError(ErrorCode.INVALID_REQUEST, message, "stream_id")
            final = request.stream_action == StreamAction.CLOSE
            tokens, rest = self._runner.more_tokens(row.open_text.rest + request.text, final=final)
            row.add_text(tokens, rest, self._runner.cache_positions, final=final)
            self._changed.notify()
            return row.text_tokens

    def _limit_of(self, request: SpeechRequest) -> int:
        return limit_samples_of(request, self.capabilities.max_audio_seconds)

    def report_to(self, publish: Publish) -> None:
        self._reporter.publish = publish

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _enqueue(self, sequence: Sequence) -> None:
        try:
            self._scheduler.submit(sequence)
        except SpeechError:
            # Requests that were cancelled in the queue no longer count.
            for waiting in self._scheduler.waiting:
                waiting.sink.ask()
            self._end_cancelled(self._scheduler.waiting)
            self._scheduler.submit(sequence)

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                with self._watchdog:
                    self._iterate()
                self._reporter.report(is_idle=not self._scheduler.has_work)
        finally:
            if isinstance(self._watchdog, Watchdog):
                self._watchdog.close()
            self._voices.shutdown(cancel_futures=True)
            self._fail_all()
            self._delivery.close()
            if not self._lost:
                self._runner.close()

    def _stats(self) -> dict[str, float]:
        return {
            "tts_engine_active_rows": len(self._scheduler.running),
            "tts_engine_rows": self._runner.slots,
            "tts_engine_waiting_requests": len(self._scheduler.waiting),
            "tts_engine_steps_total": self._steps,
            "tts_engine_step_seconds_total": self._step_s,
            "tts_engine_frames_total": self._frames,
            "tts_engine_cache_positions": self._runner.cache_positions,
            "tts_engine_cache_positions_used": sum(row.held_cache_positions for row in self._scheduler.running),
            "tts_engine_paused_rows": len(self._scheduler.paused),
            "tts_engine_pauses_total": self._pauses,
            "tts_engine_guard_trips_total": self._guard_trips,
            "tts_engine_gpu_memory_bytes": self._runner.gpu_memory_bytes() or 0,
            **self._runner.stats(),
        }

    def _wait_for_work(self) -> bool:
        """Returns False once the engine is closed."""
        with self._changed:
            self._scheduler.record_waits()
            self._changed.wait_for(
                lambda: self._closed or self._hung_up or self._scheduler.has_work, self._scheduler.text_timeout_s()
            )
            return not self._closed

    def _wake(self) -> None:
        with self._changed:
            self._hung_up = True
            self._changed.notify()

    def _iterate(self) -> None:
        self._delivery.catch_up()
        self._hung_up = False
        self._end_cancelled((*self._scheduler.running, *self._scheduler.waiting))
        self._end_without_text()
        self._resume()
        self._prefill_prompts()
        self._grow()
        self._add_text()
        if rows := self._scheduler.speaking:
            self._guarded(rows, self._step)
        for frames, due in self._scheduler.due():
            self._guarded(due, partial(self._decode, frames=frames))

    def _prefill_prompts(self) -> None:
        """Prefill prompts in order of arrival. The split of a prompt into pieces does not depend on the batch, since it
        affects the last bits of the results."""
        budget = 1.0
        while (sequence := self._scheduler.prompting or self._admit()) is not None:
            cost = self._runner.prefill_cost(sequence.slot)
            if cost > budget:
                return
            budget -= cost
            self._guarded((sequence,), self._prefill)

    def _admit(self) -> Sequence | None:
        while True:
            with self._changed:
                newcomer = self._scheduler.admit()
                evictable = None if newcomer else self._scheduler.evictable()
            if evictable is not None:
                self._pause(evictable)
            elif newcomer is None or self._guarded((newcomer,), self._begin):
                return newcomer

    def _end_cancelled(self, sequences: Codes[Sequence]) -> None:
        for sequence in sequences:
            if sequence.sink.is_cancelled():
                self._end(sequence, FinishReason.CANCELLED)

    def _end_without_text(self) -> None:
        for row in self._scheduler.text_timed_out():
            message = f"No text arrived for {TEXT_TIMEOUT_S:g} s. Send text, or close the stream."
            self._fail(row, SpeechError(ErrorCode.INVALID_REQUEST, message, "text"))

    def _add_text(self) -> None:
        for row in self._scheduler.speaking:
            if row.open_text is not None and row.open_text.tokens:
                self._guarded((row,), self._add_text_of)

    def _add_text_of(self, rows: Codes[Sequence]) -> None:
        [row] = rows
        assert row.open_text is not None
        with self._changed:
            tokens, final = row.open_text.take(row.frames, row.held_cache_positions)
        if tokens:
            self._runner.append(row.slot, tokens, final=final)

    def _grow(self) -> None:
        """Reserve cache positions for the next frame of each row, the oldest first; if there are none left, pause the
        youngest."""
        for row in self._scheduler.speaking:
            if row.stage is Stage.SPEAKING and row.wants_to_grow:
                self._guarded((row,), self._grow_one)

    def _grow_one(self, rows: Codes[Sequence]) -> None:
        [row] = rows
        while row.cache_range is not None:
            with self._changed:
                grown = self._scheduler.grow(row)
            if grown:
                self._runner.move(row.slot, row.cache_range)
                return
            self._pause(self._scheduler.youngest())

    def _pause(self, row: Sequence) -> None:
        if self._guarded((row,), lambda rows: self._runner.pause(row.slot)):
            self._pauses += 1
            with self._changed:
                self._scheduler.pause(row)

    def _resume(self) -> None:
        while True:
            with self._changed:
                row = self._scheduler.resume()
            if row is None or row.cache_range is None:
                return
            self._guarded((row,), self._resume_one)

    def _resume_one(self, rows: Codes[Sequence]) -> None:
        [row] = rows
        assert row.cache_range is not None
        self._runner.resume(row.slot, row.cache_range)

    def _guarded(self, sequences: Codes[Sequence], work: Callable[[Codes[Sequence]], None]) -> bool:
        """Do `work`; a failure fails only the sequences it was for. If the device has no memory for all of them, fail
        the youngest and retry with the rest. Returns whether it was done for any."""
        rest = list(sequences)
        while rest:
            try:
                work(rest)
                return True
            except DeviceMemoryError as error:
                logger.warning("no memory for %d requests; failing the youngest: %s", len(rest), error)
                failed, failure = [max(rest, key=lambda row: (row.started_s, row.arrived_s))], out_of_memory()
            except DeviceLostError as error:
                self._give_up(error)
                return False
            except SpeechError as error:
                failed, failure = rest, error
            except Exception as error:
                logger.exception("work for %d requests failed", len(rest))
                message = f"The engine failed: {type(error).__name__}."
                failed, failure = rest, SpeechError(ErrorCode.ENGINE_FAILURE, message)
            rest = [sequence for sequence in rest if sequence not in failed]
            for sequence in failed:
                self._fail(sequence, failure)
            if failure.code is ErrorCode.OUT_OF_MEMORY:  # the error holds no tensors any more
                self._runner.free_memory()
        return False

    def _give_up(self, error: DeviceLostError) -> None:
        """The device is lost: fail all requests, and end the process. From any thread."""
        logger.critical("the device is lost (%s): ending this process", error)
        with self._changed:
            self._closed = self._lost = True
            sequences = (*self._scheduler.running, *self._scheduler.waiting)
            for sequence in sequences:
                self._scheduler.remove(sequence)
            self._changed.notify()
        for sequence in sequences:
            sequence.sink.error(model_died())
        self._delivery.flush(_LAST_WORDS_S)
        self._end_process()

    def _prepare(self, sequence: Sequence) -> None:
        """Runs on the voice thread."""
        if sequence.stage is Stage.PREPARING:  # otherwise it is cancelled
            self._guarded((sequence,), lambda _: self._runner.prepare(sequence.request, sequence.plan))
        with self._changed:
            self._scheduler.prepared(sequence)
            self._changed.notify()

    def _begin(self, sequences: Codes[Sequence]) -> None:
        [sequence] = sequences
        assert sequence.cache_range is not None
        sequence.started_s = time.perf_counter()
        self._runner.begin(sequence.slot, sequence.cache_range, sequence.request, sequence.plan)

    def _prefill(self, sequences: Codes[Sequence]) -> None:
        [sequence] = sequences
        if self._runner.prefill(sequence.slot):
            sequence.stage = Stage.SPEAKING

    def _step(self, rows: Codes[Sequence]) -> None:
        begin_s = time.perf_counter()
        codes, ended = self._runner.step([row.slot for row in rows])
        self._steps += 1
        self._step_s += time.perf_counter() - begin_s
        self._frames += len(rows)
        for row, frame, row_ended in zip(rows, codes, ended, strict=True):
            if row_ended:
                self._flush(row, FinishReason.STOP)
                continue
            row.add_frame()
            reason = row.guard.after_frame(frame)
            if row.frames >= row.limit_frames:
                reason = FinishReason.LENGTH
            if reason is not None:
                self._flush(row, reason)

    def _flush(self, row: Sequence, reason: FinishReason) -> None:
        """Send the samples that are not decoded yet, and end."""
        if row.undecoded_frames:
            self._guarded([row], partial(self._decode, frames=row.undecoded_frames))
        if row.stage is Stage.SPEAKING:
            self._end(row, reason)

    def _decode(self, rows: Codes[Sequence], frames: int) -> None:
        for row, samples in zip(rows, self._runner.decode([row.slot for row in rows], frames), strict=True):
            row.undecoded_frames = 0
            row.chunks += 1
            row.first_chunk_s = row.first_chunk_s or time.perf_counter() - row.started_s
            samples = samples[: row.limit_samples - row.sent_samples]
            row.sink.audio(samples)
            row.sent_samples += len(samples)
            if reason := row.guard.after_audio(samples):
                self._end(row, reason)

    def _end(self, sequence: Sequence, reason: FinishReason) -> None:
        if self._take_out(sequence):
            self._guard_trips += reason in GUARD_REASONS
            sequence.sink.end(sequence.end_event(reason))

    def _fail(self, sequence: Sequence, error: SpeechError) -> None:
        if self._take_out(sequence):
            sequence.sink.error(error)

    def _take_out(self, sequence: Sequence) -> bool:
        """Free the sequence's slot; False if it had none."""
        with self._changed:
            slot = sequence.slot
            if not self._scheduler.remove(sequence):
                return False
        if slot >= 0:
            self._runner.release(slot)
        return True

    def _fail_all(self) -> None:
        error = SpeechError(ErrorCode.SHUTTING_DOWN, "The model was unloaded. Send the request again.")
        for sequence in (*self._scheduler.running, *self._scheduler.waiting):
            self._fail(sequence, error)
