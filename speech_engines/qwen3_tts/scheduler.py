"""Who runs next. No tensors, no threads: a queue with a bound, slots, places, and whose next chunk is complete."""

import heapq
from collections import deque

from speech_engines.qwen3_tts.sequence import Sequence, Stage
from speech_engines.qwen3_tts.stretches import Stretches
from speech_protocol.errors import ErrorCode, SpeechError


class Scheduler:
    """First come, first served into `slots` slots and `places` places of the caches; `max_queue` bounds those who wait,
    for their voice or for a slot.

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
    def prompting(self) -> Sequence | None:
        """Whose prompt is to be read now: one at a time, so that the first who came is heard first."""
        return next((sequence for sequence in self._running if sequence.stage is Stage.PROMPTING), None)

    def submit(self, sequence: Sequence) -> None:
        """Let it wait, for its voice if its stage says so. Raises SpeechError if it never fits or the queue is full."""
        if sequence.places > self._stretches.places:
            message = (
                f"The text, its reference and {sequence.most_frames} frames of audio take {sequence.places} positions, "
                f"this model has {self._stretches.places}. Send a shorter text or a smaller max_audio_seconds."
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
        if not self._waiting or not self._free or self.prompting:
            return None
        stretch = self._stretches.take(self._waiting[0].places)
        if stretch is None:
            return None
        newcomer = self._waiting.popleft()
        newcomer.slot, newcomer.stretch = heapq.heappop(self._free), stretch
        newcomer.stage = Stage.PROMPTING
        self._running.append(newcomer)
        return newcomer

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
        if sequence.stretch is not None:
            heapq.heappush(self._free, sequence.slot)
            self._stretches.give(sequence.stretch)
        sequence.slot, sequence.stretch, sequence.stage = -1, None, Stage.ENDED
        return True
