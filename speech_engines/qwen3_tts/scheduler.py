"""Who runs next. No tensors, no threads: a queue with a bound, slots, and whose next chunk is complete."""

from collections import deque

from speech_engines.qwen3_tts.sequence import Sequence
from speech_protocol.errors import ErrorCode, SpeechError


class Scheduler:
    """First come, first served into `slots` places; `max_queue` bounds those who wait.

    `ramp` is how many frames are decoded and sent together: its first value for a stream's first chunk, and so on, the
    last one for all that follow. Short first chunks are heard soon, long later ones cost less each.
    """

    def __init__(self, slots: int, max_queue: int, ramp: tuple[int, ...]) -> None:
        self._free = list(range(slots - 1, -1, -1))
        self._max_queue = max_queue
        self._ramp = ramp
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._running)

    @property
    def running(self) -> tuple[Sequence, ...]:
        return tuple(self._running)

    @property
    def waiting(self) -> tuple[Sequence, ...]:
        return tuple(self._waiting)

    def submit(self, sequence: Sequence) -> None:
        """Raises SpeechError where the queue is full."""
        if len(self._waiting) >= self._max_queue:
            raise SpeechError(ErrorCode.QUEUE_FULL, f"{self._max_queue} requests wait already. Try again later.")
        self._waiting.append(sequence)

    def admit(self) -> Sequence | None:
        """Give the first who waits a free slot, if there is one. One at a time: a running stream waits for no more
        than one prefill before its next frame."""
        if not self._waiting or not self._free:
            return None
        newcomer = self._waiting.popleft()
        newcomer.slot = self._free.pop()
        self._running.append(newcomer)
        return newcomer

    def due(self) -> dict[int, list[Sequence]]:
        """Running sequences whose next chunk is complete, by its number of frames."""
        groups: dict[int, list[Sequence]] = {}
        for sequence in self._running:
            if sequence.undecoded_frames >= self._ramp[min(sequence.chunks, len(self._ramp) - 1)]:
                groups.setdefault(sequence.undecoded_frames, []).append(sequence)
        return groups

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it is; its slot is free at once."""
        if sequence in self._running:
            self._running.remove(sequence)
            self._free.append(sequence.slot)
        elif sequence in self._waiting:
            self._waiting.remove(sequence)
