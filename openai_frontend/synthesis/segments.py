"""The segments of a script: synthesized concurrently in the engine's batch, played one after another."""

import hashlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from openai_frontend.audio.seam import LONGEST_LEAD_S, LeadTrimmer, SeamTrimmer
from openai_frontend.synthesis.script import Place, Script, Silence
from speech_client.stream import SpeechStream, is_runaway
from speech_client.triton import Message
from speech_protocol.audio import MAX_CHUNK_SAMPLES, SAMPLE_BYTES
from speech_protocol.errors import SpeechError
from speech_protocol.events import AudioEvent, EndEvent, FinishReason, Word

logger = logging.getLogger(__name__)

_LEFT_OUT: Final = "parts of the text cannot be pronounced by the model and were skipped"

# Starts the segment with a number, counted from 0, and a text; each attempt, counted from 0, uses another seed.
Speak = Callable[[int, str, int], SpeechStream]


@dataclass(frozen=True, slots=True)
class FirstMessage(Message):
    """The first audio of a segment."""

    place: Place = field(kw_only=True)


async def play_script(
    script: Script, speak: Speak, ahead: Callable[[], int], max_lead_s: float, *, retries: bool = False
) -> AsyncGenerator[Message, None]:
    """The audio of a script in order, then one end event with the totals of all segments.

    While one segment is read, at most `ahead()` later ones are in flight, so a slow reader delays the start of the
    following ones. The second segment waits for the first message of the first one, so that nothing delays that, and an
    invalid request fails once. A segment's error is raised when the segment is due; but a segment that the model cannot
    pronounce is skipped, unless there is no other. Silence before the first sound is cut to `max_lead_s` seconds. With
    `retries`, a segment that the runaway guard stopped before any of it was sent is synthesized once more.
    """
    player = _Player(script, speak, ahead, max_lead_s, retries=retries)
    try:
        await player.begun()
        for index, part in enumerate(script):
            reader = None
            if isinstance(part, Silence):
                silence = player.hold(part)
            elif (reader := await player.begin(index, part)) is not None:
                silence = player.silence_before()
            else:
                continue
            for message in silent(silence):
                yield message
            while reader is not None and reader.end is None:
                for message in await reader.read():
                    yield message
        yield Message(player.total())
    finally:
        await player.close()


class _Player:
    """The state of a script during playback: segments in flight, the silences before the next one, skipped segments."""

    def __init__(
        self, script: Script, speak: Speak, ahead: Callable[[], int], max_lead_s: float, *, retries: bool
    ) -> None:
        self._speak, self._ahead, self._max_lead_s, self._retries = speak, ahead, max_lead_s, retries
        self._texts = [part for part in script if isinstance(part, str)]
        self._parts = len(script)
        self._waiting = (speak(number, text, 0) for number, text in enumerate(self._texts))
        self._running = deque([next(self._waiting)])
        self._reader: SegmentReader | None = None
        self._ends: list[EndEvent] = []
        self._number = -1  # of the segment that is read
        self._unspeakable: SpeechError | None = None
        self._left_out = 0
        # Held until a segment has begun: before that there may be no reply.
        self._held_samples = 0

    async def begun(self) -> None:
        """Wait for the first message of the first segment. Raises SpeechError."""
        await self._running[0].begun()

    def hold(self, silence: Silence) -> int:
        """Queue silence; returns the samples that can be sent now: none before the first sound."""
        self._held_samples += silence.samples
        self._finish_segment()
        return self.silence_before() if self._ends else 0

    def silence_before(self) -> int:
        """Take the samples of silence that were queued."""
        samples, self._held_samples = self._held_samples, 0
        return samples

    async def begin(self, index: int, text: str) -> "SegmentReader | None":
        """A reader for the segment at that index of the script; None if the model can pronounce nothing in it. Starts
        the following segments. Raises SpeechError."""
        self._finish_segment()
        self._number += 1
        self._running += islice(self._waiting, max(0, 1 + self._ahead() - len(self._running)))
        if unspeakable := await self._running[0].begun():
            self._unspeakable, self._left_out = unspeakable, self._left_out + 1
            self._running.popleft()
            return None
        number = self._number
        self._reader = SegmentReader(
            self._running,
            Place(number, len(self._texts), text),
            lambda: self._trimmers(index),
            (lambda: self._speak(number, text, 1)) if self._retries else None,
        )
        return self._reader

    def _finish_segment(self) -> None:
        """Record the end of the segment that was read."""
        if self._reader is not None and self._reader.end is not None:
            self._ends.append(self._reader.end)
            self._running.popleft()
        self._reader = None

    def _trimmers(self, index: int) -> "tuple[LeadTrimmer, SeamTrimmer]":
        lead = LeadTrimmer(self._max_lead_s if index == 0 else LONGEST_LEAD_S)
        return lead, SeamTrimmer(start=index > 0, end=index < self._parts - 1)

    def total(self) -> EndEvent:
        """`total_of` its segments. Raises SpeechError if nothing could be pronounced."""
        self._finish_segment()
        if self._unspeakable is not None and not self._ends:
            raise self._unspeakable
        return total_of(self._ends, left_out=bool(self._left_out))

    async def close(self) -> None:
        """Cancel all segments in flight, and wait until their connections are released."""
        if self._unspeakable is not None and self._ends:  # one line, whatever the number of segments
            logger.warning("%d segments of a text were skipped: %s", self._left_out, self._unspeakable.message)
        # Cancel all before waiting: this task may itself be cancelled while it waits.
        for stream in self._running:
            stream.cancel()
        for stream in self._running:
            await stream.ended()


class SegmentReader:
    """Reads the first stream of `running`: without leading and trailing silence, and once more if it ran away unheard.

    Words are returned with the audio in which they start, their samples counted from the start of the segment's audio.
    """

    def __init__(
        self,
        running: deque[SpeechStream],
        place: Place,
        trimmers: Callable[[], tuple[LeadTrimmer, SeamTrimmer]],
        again: Callable[[], SpeechStream] | None,
    ) -> None:
        self._running, self._trimmers, self._again = running, trimmers, again
        self._place: Place | None = place  # until its first message
        self._lead, self._seam = trimmers()
        self._words: list[Word] = []  # not returned yet, counted from the start of the stream
        self._read_samples = self._sent_samples = 0
        self._trimmed_samples: int | None = None  # silence removed at the start, known at the first audio
        self.end: EndEvent | None = None
        if again is not None and running[0].ran_away:  # before it was due
            self._retry(again)

    async def read(self) -> Sequence[Message]:
        """The audible part of the stream's next message, possibly none. Raises SpeechError."""
        message = await self._running[0].next()
        if isinstance(message.event, AudioEvent):
            begin = self._read_samples
            self._words += (Word(each.text, begin + each.start, begin + each.end) for each in message.event.words)
            self._read_samples += len(message.pcm) // SAMPLE_BYTES
            return self._audible(self._seam.trim(self._lead.trim(message.pcm)))
        assert isinstance(message.event, EndEvent)
        rest = self._seam.trim(self._lead.finish()) + self._seam.finish()
        if not rest and self._again is not None and self._place is not None and is_runaway(message):
            self._retry(self._again)
            return ()
        self.end = message.event
        return self._audible(rest)

    def _retry(self, again: Callable[[], SpeechStream]) -> None:
        self._again = None
        self._running[0] = again()
        self._lead, self._seam = self._trimmers()
        self._words, self._read_samples = [], 0

    def _audible(self, pcm: bytes) -> Sequence[Message]:
        if not pcm:
            return ()
        samples = len(pcm) // SAMPLE_BYTES
        if self._trimmed_samples is None:
            self._trimmed_samples = self._read_samples - samples - self._seam.held_samples
        self._sent_samples += samples
        event, place, self._place = AudioEvent(samples, self._words_until(self._sent_samples)), self._place, None
        return (Message(event, pcm) if place is None else FirstMessage(event, pcm, place=place),)

    def _words_until(self, end: int) -> tuple[Word, ...]:
        """Take the words that start before sample `end` of the segment's audio."""
        trimmed = self._trimmed_samples or 0
        moved = [Word(each.text, max(0, each.start - trimmed), max(0, each.end - trimmed)) for each in self._words]
        count = sum(each.start < end for each in moved)
        del self._words[:count]
        return tuple(moved[:count])


def segment_seed(seed: int, number: int) -> int:
    """The seed of a segment: the request's own for the first, so that a short text keeps its seed."""
    if number == 0:
        return seed
    digest = hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def total_of(ends: Sequence[EndEvent], *, left_out: bool) -> EndEvent:
    """Totals of a request: sums over its segments, the waiting times of the first one, the first reason other than
    STOP."""
    warnings = [*(_LEFT_OUT,) * left_out, *(warning for end in ends for warning in end.warnings)]
    reasons = (end.finish_reason for end in ends if end.finish_reason is not FinishReason.STOP)
    return EndEvent(
        finish_reason=next(reasons, FinishReason.STOP),
        audio_samples=sum(end.audio_samples for end in ends),
        text_tokens=sum(end.text_tokens for end in ends),
        queue_s=ends[0].queue_s,
        first_chunk_s=ends[0].first_chunk_s,
        synthesis_s=sum(end.synthesis_s for end in ends),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def silent(samples: int) -> Iterator[Message]:
    """Silence of that length in samples, in chunks."""
    for begin in range(0, samples, MAX_CHUNK_SAMPLES):
        count = min(MAX_CHUNK_SAMPLES, samples - begin)
        yield Message(AudioEvent(count), bytes(count * SAMPLE_BYTES))
