"""Admission, slots, cache ranges and pauses of sequences. No tensors, no threads: a bounded queue, and the chunks that
are due."""

import heapq
from collections import deque
from typing import Final

from speech_engines.qwen3_tts.batching.sequence import Sequence, Stage
from speech_engines.qwen3_tts.model.cache_ranges import CacheRanges
from speech_protocol.errors import ErrorCode, SpeechError

# Positions by which a cache range grows: 20 s.
GROWTH: Final = 256


class Scheduler:
    """First-in, first-out admission into `slots` slots and `cache_positions` positions of the KV cache; `max_queue`
    limits the requests that wait for their voice prompt or for a slot.

    A request is admitted with the cache positions that texts of its length usually need, a fifth of its maximum, and
    grows. If it cannot grow, the youngest is paused: it keeps its slot, leaves the cache, and resumes before any other
    request is admitted. The oldest is never paused, and all cache positions together suffice for it, so every request
    completes.

    `ramp` is the number of frames that are decoded and sent together: its first value for a stream's first chunk, and
    so on, the last one for all later chunks. Short first chunks reduce latency, long later ones cost less each.
    """

    def __init__(self, slots: int, cache_positions: int, max_queue: int, ramp: tuple[int, ...]) -> None:
        self._free = list(range(slots))  # a heap: low slots first, as a GPU computes all slots below the highest
        self._cache_ranges = CacheRanges(cache_positions)
        self._max_queue = max_queue
        self._ramp = ramp
        self._preparing: list[Sequence] = []
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []

    @property
    def has_work(self) -> bool:
        """Whether any request is queued, or running and not waiting for text."""
        idle = [row for row in self.waiting_for_text if not row.undecoded_frames]
        return bool(self._waiting) or len(idle) < len(self._running)

    @property
    def running(self) -> tuple[Sequence, ...]:
        """All with a slot, in order of arrival there."""
        return tuple(self._running)

    @property
    def waiting(self) -> tuple[Sequence, ...]:
        """All without a slot."""
        return (*self._preparing, *self._waiting)

    @property
    def speaking(self) -> tuple[Sequence, ...]:
        """All that are decoding, in order of arrival; not those that wait for text."""
        return tuple(row for row in self._running if row.stage is Stage.SPEAKING and row.has_text)

    @property
    def waiting_for_text(self) -> tuple[Sequence, ...]:
        """All that have synthesized their text so far, and keep their slot and their place in the cache."""
        return tuple(row for row in self._running if row.stage is not Stage.PROMPTING and not row.has_text)

    def record_waits(self) -> None:
        """Record since when each sequence waits for text."""
        waiting = self.waiting_for_text
        for row in self._running:
            if row.open_text is not None:
                row.open_text.record_wait(now=row in waiting)

    def text_timeout_s(self) -> float | None:
        """Seconds until the first sequence that waits for text is given up; None if none waits."""
        timeouts_s = (row.open_text.timeout_s() for row in self._running if row.open_text is not None)
        return min((timeout_s for timeout_s in timeouts_s if timeout_s is not None), default=None)

    def text_timed_out(self) -> list[Sequence]:
        """The sequences that have waited for text for too long."""
        timeouts_s = ((row, row.open_text.timeout_s()) for row in self.waiting_for_text if row.open_text is not None)
        return [row for row, timeout_s in timeouts_s if timeout_s is not None and timeout_s <= 0]

    def find(self, stream_id: str | None) -> Sequence | None:
        """The sequence with that stream id and an open text."""
        everywhere = (*self._running, *self._waiting, *self._preparing)
        return next((row for row in everywhere if row.open_text and row.request.stream_id == stream_id), None)

    @property
    def paused(self) -> tuple[Sequence, ...]:
        """Paused sequences that have text, in order of arrival."""
        return tuple(row for row in self._running if row.stage is Stage.PAUSED and row.has_text)

    @property
    def prompting(self) -> Sequence | None:
        """The sequence to prefill next: one at a time, in order of arrival."""
        return next((sequence for sequence in self._running if sequence.stage is Stage.PROMPTING), None)

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence, for its voice if its stage says so. Raises SpeechError if it can never fit or the queue is
        full."""
        if sequence.max_cache_positions > self._cache_ranges.cache_positions:
            message = (
                f"The text, its reference and {sequence.most_frames} frames of audio take "
                f"{sequence.max_cache_positions} positions, and this model has {self._cache_ranges.cache_positions}. "
                "Send a shorter text or a smaller max_audio_seconds."
            )
            raise SpeechError(ErrorCode.INVALID_REQUEST, message, "text")
        if len(self._waiting) + len(self._preparing) >= self._max_queue:
            raise SpeechError(
                ErrorCode.QUEUE_FULL, f"The engine's queue is full ({self._max_queue} requests). Retry later."
            )
        queue = self._preparing if sequence.stage is Stage.PREPARING else self._waiting
        queue.append(sequence)

    def prepared(self, sequence: Sequence) -> None:
        """Its voice prompt is ready: it queues for a slot."""
        if sequence in self._preparing:
            self._preparing.remove(sequence)
            sequence.stage = Stage.WAITING
            self._waiting.append(sequence)

    def admit(self) -> Sequence | None:
        """Give the first queued request a slot and a cache range, if free; the order is strict. Not while another
        prompt is being prefilled."""
        if not self._may_admit:
            return None
        cache_range = self._cache_ranges.take(self._waiting[0].expected_cache_positions)
        if cache_range is None:
            return None
        newcomer = self._waiting.popleft()
        newcomer.slot, newcomer.cache_range = heapq.heappop(self._free), cache_range
        newcomer.stage = Stage.PROMPTING
        self._running.append(newcomer)
        return newcomer

    @property
    def _may_admit(self) -> bool:
        return bool(self._waiting and self._free and not self.prompting and not self.paused)

    def evictable(self) -> Sequence | None:
        """A sequence that waits for text and can leave the cache to the first queued request; None if there is none."""
        rows = (row for row in self.waiting_for_text if row.cache_range is not None)
        return next(rows, None) if self._may_admit else None

    def grow(self, sequence: Sequence) -> bool:
        """Extend its cache range, if possible; the range may move."""
        assert sequence.cache_range is not None
        count = min(sequence.held_cache_positions + GROWTH, sequence.max_cache_positions)
        grown = self._cache_ranges.grow(sequence.cache_range, count)
        if grown is None:
            return False
        sequence.cache_range = grown
        return True

    def youngest(self) -> Sequence:
        """The sequence to pause next, of all with a cache range: one that waits for text, else the youngest."""
        rows = [row for row in reversed(self._running) if row.cache_range is not None]
        return next((row for row in rows if row in self.waiting_for_text), rows[0])

    def pause(self, sequence: Sequence) -> None:
        """Release its cache range, but not its slot."""
        assert sequence.cache_range is not None
        self._cache_ranges.give(sequence.cache_range)
        sequence.cache_range, sequence.resumes_as, sequence.stage = None, sequence.stage, Stage.PAUSED

    def resume(self) -> Sequence | None:
        """Give the oldest paused sequence a cache range with positions to grow into, if free."""
        sequence = next(iter(self.paused), None)
        if sequence is None:
            return None
        count = sequence.plan.prompt_positions + sequence.frames + GROWTH
        sequence.cache_range = self._cache_ranges.take(
            min(max(count, sequence.expected_cache_positions), sequence.max_cache_positions)
        )
        if sequence.cache_range is None:
            return None
        sequence.stage = sequence.resumes_as
        return sequence

    def due(self) -> list[tuple[int, list[Sequence]]]:
        """Sequences whose next chunk is complete, by its number of frames; the group with the most urgent stream
        first."""
        groups: dict[int, list[Sequence]] = {}
        for sequence in (*self.speaking, *self.waiting_for_text):
            wanted = self._ramp[min(sequence.chunks, len(self._ramp) - 1)] if sequence.has_text else 1
            if sequence.undecoded_frames >= wanted:
                groups.setdefault(sequence.undecoded_frames, []).append(sequence)
        return sorted(groups.items(), key=lambda group: min(sequence.due_s for sequence in group[1]))

    def remove(self, sequence: Sequence) -> bool:
        """Remove a sequence, wherever it is; its slot and its cache range are free immediately. False if it was not
        here."""
        for queue in (self._running, self._waiting, self._preparing):
            if sequence in queue:
                queue.remove(sequence)
                break
        else:
            return False
        if sequence.slot >= 0:
            heapq.heappush(self._free, sequence.slot)
        if sequence.cache_range is not None:
            self._cache_ranges.give(sequence.cache_range)
        sequence.slot, sequence.cache_range, sequence.stage = -1, None, Stage.ENDED
        return True
