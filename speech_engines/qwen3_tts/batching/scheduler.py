"""Who runs next. No tensors, no threads: a queue with a bound, slots, places, and whose next chunk is complete."""

import heapq
from collections import deque
from typing import Final

from speech_engines.qwen3_tts.batching.sequence import Sequence, Stage
from speech_engines.qwen3_tts.model.cache_ranges import Stretches
from speech_protocol.errors import ErrorCode, SpeechError

# Places that a stretch grows by: 20 s.
GROWTH: Final = 256


class Scheduler:
    """First come, first served into `slots` slots and `places` places of the caches; `max_queue` bounds those who wait,
    for their voice or for a slot.

    A request begins with the places that texts of its length usually need, a fifth of what it may come to, and grows.
    Where there is no place to grow into, the youngest is paused: it keeps its slot, leaves the caches, and goes on
    before anybody else is admitted. The oldest is never paused, and all places are enough for it, so each in turn comes
    to its end.

    `ramp` is how many frames are decoded and sent together: its first value for a stream's first chunk, and so on, the
    last one for all that follow. Short first chunks are heard soon, long later ones cost less each.
    """

    def __init__(self, slots: int, places: int, max_queue: int, ramp: tuple[int, ...]) -> None:
        self._free = list(range(slots))  # a heap: low slots first, as a GPU computes all slots below the highest
        self._stretches = Stretches(places)
        self._max_queue = max_queue
        self._ramp = ramp
        self._preparing: list[Sequence] = []
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._running)

    @property
    def running(self) -> tuple[Sequence, ...]:
        """All that have a slot, in order of arrival there."""
        return tuple(self._running)

    @property
    def waiting(self) -> tuple[Sequence, ...]:
        """All that have none yet."""
        return (*self._preparing, *self._waiting)

    @property
    def speaking(self) -> tuple[Sequence, ...]:
        return tuple(sequence for sequence in self._running if sequence.stage is Stage.SPEAKING)

    @property
    def paused(self) -> tuple[Sequence, ...]:
        """In order of arrival."""
        return tuple(sequence for sequence in self._running if sequence.stage is Stage.PAUSED)

    @property
    def prompting(self) -> Sequence | None:
        """Whose prompt is to be read now: one at a time, so that the first who came is heard first."""
        return next((sequence for sequence in self._running if sequence.stage is Stage.PROMPTING), None)

    def submit(self, sequence: Sequence) -> None:
        """Let it wait, for its voice if its stage says so. Raises SpeechError if it never fits or the queue is full."""
        if sequence.most_places > self._stretches.places:
            message = (
                f"The text, its reference and {sequence.most_frames} frames of audio take {sequence.most_places} "
                f"positions, and this model has {self._stretches.places}. "
                "Send a shorter text or a smaller max_audio_seconds."
            )
            raise SpeechError(ErrorCode.INVALID_REQUEST, message, "text")
        if len(self._waiting) + len(self._preparing) >= self._max_queue:
            raise SpeechError(ErrorCode.QUEUE_FULL, f"{self._max_queue} requests wait already. Try again later.")
        queue = self._preparing if sequence.stage is Stage.PREPARING else self._waiting
        queue.append(sequence)

    def prepared(self, sequence: Sequence) -> None:
        """Its voice is there: it waits for a slot, behind those who do."""
        if sequence in self._preparing:
            self._preparing.remove(sequence)
            sequence.stage = Stage.WAITING
            self._waiting.append(sequence)

    def admit(self) -> Sequence | None:
        """Give the first who waits a slot and a stretch, if there are; nobody overtakes it. Not while another prompt is
        being read."""
        if not self._waiting or not self._free or self.prompting or self.paused:
            return None
        stretch = self._stretches.take(self._waiting[0].expected_places)
        if stretch is None:
            return None
        newcomer = self._waiting.popleft()
        newcomer.slot, newcomer.stretch = heapq.heappop(self._free), stretch
        newcomer.stage = Stage.PROMPTING
        self._running.append(newcomer)
        return newcomer

    def grow(self, sequence: Sequence) -> bool:
        """More places for it, if there are; they may lie elsewhere."""
        assert sequence.stretch is not None
        count = min(sequence.held_places + GROWTH, sequence.most_places)
        grown = self._stretches.grow(sequence.stretch, count)
        if grown is None:
            return False
        sequence.stretch = grown
        return True

    def youngest(self) -> Sequence:
        """Who is paused next, of all that hold places."""
        return next(sequence for sequence in reversed(self._running) if sequence.stretch is not None)

    def pause(self, sequence: Sequence) -> None:
        """Take its places, but not its slot."""
        assert sequence.stretch is not None
        self._stretches.give(sequence.stretch)
        sequence.stretch, sequence.resumes_as, sequence.stage = None, sequence.stage, Stage.PAUSED

    def resume(self) -> Sequence | None:
        """Give the oldest of those that are paused places again, and some to grow into, if there are."""
        sequence = next(iter(self.paused), None)
        if sequence is None:
            return None
        count = sequence.plan.prompt_positions + sequence.frames + GROWTH
        sequence.stretch = self._stretches.take(min(max(count, sequence.expected_places), sequence.most_places))
        if sequence.stretch is None:
            return None
        sequence.stage = sequence.resumes_as
        return sequence

    def due(self) -> list[tuple[int, list[Sequence]]]:
        """Those whose next chunk is complete, by its number of frames; the group of the most urgent listener first."""
        groups: dict[int, list[Sequence]] = {}
        for sequence in self.speaking:
            if sequence.undecoded_frames >= self._ramp[min(sequence.chunks, len(self._ramp) - 1)]:
                groups.setdefault(sequence.undecoded_frames, []).append(sequence)
        return sorted(groups.items(), key=lambda group: min(sequence.due_s for sequence in group[1]))

    def remove(self, sequence: Sequence) -> bool:
        """Take a sequence out, wherever it is; its slot and its places are free at once. False if it was not here."""
        for queue in (self._running, self._waiting, self._preparing):
            if sequence in queue:
                queue.remove(sequence)
                break
        else:
            return False
        if sequence.slot >= 0:
            heapq.heappush(self._free, sequence.slot)
        if sequence.stretch is not None:
            self._stretches.give(sequence.stretch)
        sequence.slot, sequence.stretch, sequence.stage = -1, None, Stage.ENDED
        return True
