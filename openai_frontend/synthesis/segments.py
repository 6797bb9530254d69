"""A script's segments: spoken side by side in the engine's batch, heard one after the other."""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Final

from openai_frontend.audio.seam import LONGEST_LEAD_S, LeadTrimmer, SeamTrimmer
from openai_frontend.synthesis.script import Place, Script, Silence
from speech_client.triton import Message
from speech_protocol.audio import MAX_CHUNK_SAMPLES, SAMPLE_BYTES
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import GUARD_REASONS, AudioEvent, EndEvent, FinishReason

logger = logging.getLogger(__name__)

# Messages of a segment that wait for their turn; more stay in Triton, as those of a slow reader do.
_BUFFERED_MESSAGES: Final = 32
_LEFT_OUT: Final = "some of the text has nothing that the model can pronounce, and was left out"

# Starts the segment of a number, counted from 0, and a text; with another seed for each attempt, counted from 0.
Speak = Callable[[int, str, int], AsyncGenerator[Message, None]]


@dataclass(frozen=True, slots=True)
class FirstMessage(Message):
    """The first audio of a segment."""

    place: Place = field(kw_only=True)


async def play_script(
    script: Script, speak: Speak, ahead: Callable[[], int], max_lead_s: float, *, retries: bool = False
) -> AsyncGenerator[Message, None]:
    """The audio of a script in its order, then one end event with the figures of all its segments.

    While one segment is read, at most `ahead()` later ones are under way, so a slow reader holds back the start of what
    follows. The second one waits for the first one's first message: nothing delays that, and what is wrong with the
    request is found out once. What a segment raises is raised when its turn comes; but one that the model has no way to
    pronounce is left out, unless it is all there is. The first one's silence before its first sound is cut to
    `max_lead_s` seconds. With `retries`, one that the runaway guard ended before anything of it was sent is spoken once
    more.
    """
    texts = [part for part in script if isinstance(part, str)]
    waiting = (speak(number, text, 0) for number, text in enumerate(texts))
    places = (Place(number, len(texts), text) for number, text in enumerate(texts))
    running = deque([_Segment(next(waiting))])
    ends: list[EndEvent] = []
    unspeakable: SpeechError | None = None
    number = -1  # of the segment that is read
    left_out = 0
    held: list[Silence] = []  # until something was spoken, it is not sure that there is a reply
    try:
        await running[0].begun()
        for place, part in enumerate(script):
            if isinstance(part, Silence):
                held.append(part)
                if not ends:
                    continue
            else:
                number += 1
                begins: Place | None = next(places)
                running += (_Segment(messages) for messages in islice(waiting, max(0, 1 + ahead() - len(running))))
                if unspeakable_now := await running[0].begun():
                    unspeakable = unspeakable_now
                    left_out += 1
                    running.popleft()
                    continue
            for silence in held:
                for message in _silent(silence):
                    yield message
            held.clear()
            if isinstance(part, Silence):
                continue
            trims = partial(_trims, place, len(script), max_lead_s)
            again = partial(speak, number, part, 1) if retries else None
            async for message in _sound(running, trims, again):
                if isinstance(message.event, EndEvent):
                    ends.append(message.event)
                else:
                    yield message if begins is None else FirstMessage(message.event, message.pcm, place=begins)
                    begins = None
            running.popleft()
        if unspeakable is not None and not ends:
            raise unspeakable
        yield Message(_total(ends, left_out=unspeakable is not None))
    finally:
        if unspeakable is not None and ends:  # one line, however many they are
            logger.warning("%d segments of a text were left out: %s", left_out, unspeakable.message)
        # All are told before anything is waited for: whoever was cancelled may not get to wait.
        for segment in running:
            segment.cancel()
        for segment in running:
            await segment.ended()


def segment_seed(seed: int, number: int) -> int:
    """The seed of a request's segment: the request's own for the first, so that a short text is not changed by this."""
    if number == 0:
        return seed
    digest = hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


class _Segment:
    """One segment under way, from now on; some of its messages wait here until its turn."""

    def __init__(self, messages: AsyncGenerator[Message, None]) -> None:
        self._queue: asyncio.Queue[Message | Exception] = asyncio.Queue(_BUFFERED_MESSAGES)
        self._first: Message | Exception | None = None
        self.ran_away = False  # it is over, and the guard ended it
        self._task = asyncio.create_task(self._run(messages))

    async def begun(self) -> SpeechError | None:
        """Wait for the first message, and return the error that came instead where there is nothing to pronounce.
        Raises what else the segment raised in its place."""
        if self._first is None:
            self._first = await self._queue.get()
        if isinstance(self._first, SpeechError) and self._first.code is ErrorCode.UNSPEAKABLE_TEXT:
            return self._first
        if isinstance(self._first, Exception):
            raise self._first
        return None

    async def next(self) -> Message:
        """The next message; the last one is the end event."""
        item, self._first = self._first or await self._queue.get(), None
        if isinstance(item, Exception):
            raise item
        return item

    def cancel(self) -> None:
        """End the segment in the engine unless it is over."""
        self._task.cancel()

    async def ended(self) -> None:
        """Wait until everything is given back."""
        await asyncio.wait([self._task])

    async def _run(self, messages: AsyncGenerator[Message, None]) -> None:
        try:
            async with aclosing(messages):
                async for message in messages:
                    await self._queue.put(message)
                    self.ran_away = _ran_away(message)
        except Exception as error:  # noqa: BLE001 - raised again by `next`, in the segment's turn
            await self._queue.put(error)


async def _sound(
    running: deque[_Segment],
    trims: Callable[[], tuple[LeadTrimmer, SeamTrimmer]],
    again: Callable[[], AsyncGenerator[Message, None]] | None,
) -> AsyncIterator[Message]:
    """The first segment's audio and its end; with `again`, of its second attempt where the first one ran away and
    nothing of it was sent."""
    if again is not None and running[0].ran_away:  # while it waited for its turn
        running[0], again = _Segment(again()), None
    sent = False
    async for message in _spoken(running[0], *trims()):
        if not sent and again is not None and _ran_away(message):
            running[0] = _Segment(again())
            async for other in _spoken(running[0], *trims()):
                yield other
            return
        sent = True
        yield message


def _trims(place: int, parts: int, max_lead_s: float) -> tuple[LeadTrimmer, SeamTrimmer]:
    """For the segment at that place of a script of so many parts."""
    lead = LeadTrimmer(max_lead_s if place == 0 else LONGEST_LEAD_S)
    return lead, SeamTrimmer(start=place > 0, end=place < parts - 1)


def _ran_away(message: Message) -> bool:
    return isinstance(message.event, EndEvent) and message.event.finish_reason in GUARD_REASONS


async def _spoken(segment: _Segment, lead: LeadTrimmer, trimmer: SeamTrimmer) -> AsyncIterator[Message]:
    """A segment's audio without the silence at its seams, and its end."""
    while not isinstance((message := await segment.next()).event, EndEvent):
        if pcm := trimmer.trim(lead.trim(message.pcm)):
            yield _audible(pcm)
    if pcm := trimmer.trim(lead.finish()) + trimmer.finish():
        yield _audible(pcm)
    yield message


def _audible(pcm: bytes) -> Message:
    return Message(AudioEvent(len(pcm) // SAMPLE_BYTES), pcm)


def _silent(silence: Silence) -> Iterator[Message]:
    for begin in range(0, silence.samples, MAX_CHUNK_SAMPLES):
        yield _audible(bytes(min(MAX_CHUNK_SAMPLES, silence.samples - begin) * SAMPLE_BYTES))


def _total(ends: Sequence[EndEvent], *, left_out: bool) -> EndEvent:
    """The figures of a request: sums over its segments, the waits those of the first, the reason the first bad one."""
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
