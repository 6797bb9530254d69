"""Continuous batching: requests join and leave at frame granularity, and one thread owns the device.

A turn prefills at most one newcomer, makes one frame for every running row, and decodes the chunks that are complete.
"""

import logging
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence as Codes
from dataclasses import dataclass
from typing import Protocol

from speech_engines.base import AudioSink, Capabilities, Samples
from speech_engines.qwen3_tts.guard import RunawayGuard
from speech_engines.qwen3_tts.scheduler import Scheduler
from speech_engines.qwen3_tts.sequence import Sequence, limit_samples_of
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import FinishReason
from speech_protocol.request import SpeechRequest

logger = logging.getLogger(__name__)

DEFAULT_RAMP = (1, 2, 4, 8, 12)
# Asking Triton takes about 0.1 ms a row, as long as a GPU needs for a good part of a step.
CANCEL_POLL_S = 0.04


@dataclass(frozen=True, slots=True)
class Prefilled:
    """What a prefill found out about its request. `room_frames`: frames that fit the cache behind the prompt."""

    text_tokens: int
    room_frames: int


class Device(Protocol):
    """The computing half, called from the engine's thread only. Slots are 0 to `slots` - 1."""

    slots: int

    def check(self, request: SpeechRequest) -> tuple[str, ...]:
        """Raise SpeechError where `request` can't be served; else the warnings it earns. Safe from any thread."""
        ...

    def prefill(self, slot: int, request: SpeechRequest) -> Prefilled:
        """Begin a new utterance in `slot`."""
        ...

    def step(self, slots: Codes[int]) -> tuple[list[list[int]], list[bool]]:
        """One frame for each slot: its 16 codes, and whether the utterance ended instead."""
        ...

    def decode(self, slots: Codes[int], frames: int) -> list[Samples]:
        """The samples of the last `frames` frames of each slot, which were not decoded yet."""
        ...

    def release(self, slot: int) -> None: ...

    def gpu_memory_bytes(self) -> int | None: ...

    def close(self) -> None: ...


class BatchEngine:
    """The Engine over a Device."""

    def __init__(
        self, device: Device, capabilities: Capabilities, max_queue: int, ramp: tuple[int, ...] = DEFAULT_RAMP
    ) -> None:
        self.capabilities = capabilities
        self._device = device
        self._scheduler = Scheduler(device.slots, max_queue, ramp)
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"engine-{capabilities.engine}", daemon=True)
        self._thread.start()

    def gpu_memory_bytes(self) -> int | None:
        return self._device.gpu_memory_bytes()

    def submit(self, request: SpeechRequest, sink: AudioSink) -> None:
        warnings = self._device.check(request)
        sequence = Sequence(request, sink, limit_samples_of(request, self.capabilities.max_audio_seconds))
        sequence.warnings = warnings
        with self._changed:
            if self._closed:
                raise SpeechError(ErrorCode.SHUTTING_DOWN, "The model is being unloaded. Send the request again.")
            self._submit(sequence)
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _submit(self, sequence: Sequence) -> None:
        try:
            self._scheduler.submit(sequence)
        except SpeechError:
            # Those who hung up while they waited give their places to those who are still there.
            for gone in [waiting for waiting in self._scheduler.waiting if waiting.sink.is_cancelled()]:
                self._scheduler.remove(gone)
                gone.sink.end(gone.end_event(FinishReason.CANCELLED))
            self._scheduler.submit(sequence)

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self._turn()
        finally:
            self._fail_all()
            self._device.close()

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._scheduler.has_work)
            return not self._closed

    def _turn(self) -> None:
        self._end_cancelled()
        with self._changed:
            newcomer = self._scheduler.admit()
        if newcomer is not None:
            self._guarded((newcomer,), lambda: self._prefill(newcomer))
        rows = self._scheduler.running
        if rows:
            self._guarded(rows, lambda: self._step(rows))
        for frames, due in self._scheduler.due().items():
            self._guarded(due, lambda due=due, frames=frames: self._decode(due, frames))  # type: ignore[misc]

    def _end_cancelled(self) -> None:
        now_s = time.perf_counter()
        for sequence in self._scheduler.running:
            if now_s - sequence.asked_s >= CANCEL_POLL_S:
                sequence.asked_s = now_s
                if sequence.sink.is_cancelled():
                    self._end(sequence, FinishReason.CANCELLED)

    def _guarded(self, sequences: Codes[Sequence], work: Callable[[], None]) -> None:
        """Do `work`; a failure fails the sequences it was for, and no other."""
        try:
            work()
        except SpeechError as error:
            for sequence in sequences:
                self._fail(sequence, error)
        except Exception as error:
            logger.exception("a turn for %d requests failed", len(sequences))
            failure = SpeechError(ErrorCode.ENGINE_FAILURE, f"The engine failed: {type(error).__name__}.")
            for sequence in sequences:
                self._fail(sequence, failure)

    def _prefill(self, sequence: Sequence) -> None:
        sequence.started_s = time.perf_counter()
        if sequence.sink.is_cancelled():
            self._end(sequence, FinishReason.CANCELLED)
            return
        prefilled = self._device.prefill(sequence.slot, sequence.request)
        if prefilled.room_frames < 1:
            message = "The text and the reference together are too long for one utterance. Send a shorter text."
            raise SpeechError(ErrorCode.INVALID_REQUEST, message, "text")
        sequence.text_tokens = prefilled.text_tokens
        sequence.room_frames = prefilled.room_frames
        sequence.guard = RunawayGuard(prefilled.text_tokens)

    def _step(self, rows: tuple[Sequence, ...]) -> None:
        codes, ended = self._device.step([row.slot for row in rows])
        for row, frame, row_ended in zip(rows, codes, ended, strict=True):
            if row_ended:
                self._flush(row, FinishReason.STOP)
                continue
            row.add_frame()
            assert row.guard is not None
            reason = row.guard.after_frame(frame)
            if row.frames >= min(row.limit_frames, row.room_frames):
                reason = FinishReason.LENGTH
            if reason is not None:
                self._flush(row, reason)

    def _flush(self, row: Sequence, reason: FinishReason) -> None:
        """Send what is not decoded yet, and end."""
        if row.undecoded_frames:
            self._decode([row], row.undecoded_frames)
        if row.slot >= 0:
            self._end(row, reason)

    def _decode(self, rows: Codes[Sequence], frames: int) -> None:
        for row, samples in zip(rows, self._device.decode([row.slot for row in rows], frames), strict=True):
            row.undecoded_frames = 0
            row.chunks += 1
            row.first_chunk_s = row.first_chunk_s or time.perf_counter() - row.started_s
            samples = samples[: row.limit_samples - row.sent_samples]
            row.sink.audio(samples)
            row.sent_samples += len(samples)
            assert row.guard is not None
            if reason := row.guard.after_audio(samples):
                self._end(row, reason)

    def _end(self, sequence: Sequence, reason: FinishReason) -> None:
        self._take_out(sequence)
        sequence.sink.end(sequence.end_event(reason))

    def _fail(self, sequence: Sequence, error: SpeechError) -> None:
        if self._take_out(sequence):
            sequence.sink.error(error)

    def _take_out(self, sequence: Sequence) -> bool:
        """Free the sequence's place; False if it had none any more."""
        slot = sequence.slot
        with self._changed:
            known = sequence in self._scheduler.running or sequence in self._scheduler.waiting
            self._scheduler.remove(sequence)
        sequence.slot = -1
        if slot >= 0:
            self._device.release(slot)
        return known

    def _fail_all(self) -> None:
        error = SpeechError(ErrorCode.SHUTTING_DOWN, "The model was unloaded. Send the request again.")
        for sequence in (*self._scheduler.running, *self._scheduler.waiting):
            self._fail(sequence, error)
