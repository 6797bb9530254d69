"""Streaming text input: complete sentences are synthesized while the next ones arrive."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Final

from openai_frontend.audio.seam import LONGEST_LEAD_S, LeadTrimmer, SeamTrimmer
from openai_frontend.errors import ApiError, invalid
from openai_frontend.synthesis.script import Place
from openai_frontend.synthesis.segments import SegmentReader, Speak, silent, total_of
from speech_client.stream import SpeechStream
from speech_client.triton import Message
from speech_protocol.audio import SAMPLE_RATE_HZ
from speech_protocol.errors import SpeechError
from speech_protocol.events import EndEvent
from speech_text.segments import SEGMENT_WIDTH, is_spoken, pause_after_s, split_segments, text_width
from speech_text.sentences import split_clauses, split_sentences

# The first segment may end at a clause that is this wide, so that speech starts before the first sentence is complete.
_FIRST_CLAUSE_WIDTH: Final = 40
# Segments in flight: the one being read, and the next one, which is ready when the first has ended.
_IN_FLIGHT: Final = 2


class LiveText:
    """Collects pieces of text, split anywhere, into segments that end with sentences. For one event loop.

    `limit_chars` limits the whole text; a reader that waits `idle_s` seconds for more raises an error.
    """

    def __init__(self, limit_chars: int, idle_s: float) -> None:
        self._limit_chars, self._idle_s = limit_chars, idle_s
        self._open = ""  # the part that may be an incomplete sentence
        self._ready: deque[str] = deque()
        self._changed = asyncio.Event()
        self._chars = 0
        self._has_begun = False
        self.is_closed = False

    def append(self, piece: str) -> None:
        """Append a piece. Raises ApiError 400 after `close`, or if the text is too long."""
        if self.is_closed:
            raise invalid("text", "The text has ended. Start another utterance.")
        if self._chars + len(piece) > self._limit_chars:
            message = f"The text has more than {self._limit_chars} characters. Send the rest as another utterance."
            raise invalid("text", message, "string_above_max_length")
        self._chars += len(piece)
        self._open += piece
        self._cut()

    def flush(self) -> None:
        """Treat the text so far as complete."""
        if is_spoken(self._open):
            self._ready.append(self._open)
        self._open = ""
        self._changed.set()

    def close(self) -> None:
        """End the text. Idempotent."""
        self.flush()
        self.is_closed = True

    def take(self) -> str | None:
        """The next segment, with as many complete sentences as fit, or None if none is complete."""
        segment = ""
        while self._ready and (not segment or text_width(segment) + text_width(self._ready[0]) <= SEGMENT_WIDTH):
            segment += self._ready.popleft()
        self._has_begun |= bool(segment)
        return segment or None

    async def next(self) -> str | None:
        """Wait for the next segment; None at the end. Raises ApiError 408 if no text arrives in time."""
        try:
            async with asyncio.timeout(self._idle_s or None):
                while (segment := self.take()) is None and not self.is_closed:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            message = f"No text arrived for {self._idle_s:g} s. Send text, or end the utterance."
            raise ApiError(408, "request_timeout", message) from None
        return segment

    def _cut(self) -> None:
        complete, self._open = _complete(self._open, is_first=not self._has_begun and not self._ready)
        self._ready += filter(is_spoken, complete)
        if complete:
            self._changed.set()


def _complete(text: str, *, is_first: bool) -> tuple[list[str], str]:
    """The segments of a text that more text cannot change, and the rest."""
    *sentences, rest = split_sentences(text) or [""]
    if text_width(rest) > SEGMENT_WIDTH:
        *long, rest = split_segments(rest, SEGMENT_WIDTH)
        sentences += long
    if is_first and not sentences:
        *clauses, last = split_clauses(rest) or [""]
        if clauses and text_width("".join(clauses)) >= _FIRST_CLAUSE_WIDTH:
            return ["".join(clauses)], last
    return sentences, rest


async def play_live(text: LiveText, speak: Speak, max_lead_s: float) -> AsyncGenerator[Message, None]:
    """The audio of a text in order while it is written, then one end event with the totals.

    The next segment is in flight before the current one has ended, so the gap between them is the natural pause. Raises
    SpeechError and ApiError.
    """
    running: deque[SpeechStream] = deque()
    texts: deque[str] = deque()
    ends: list[EndEvent] = []
    unspeakable: SpeechError | None = None
    started = 0
    before = ""

    def start(segment: str) -> None:
        nonlocal started
        running.append(speak(started, segment.strip(), 0))
        texts.append(segment)
        started += 1

    try:
        while True:
            if not running:
                if (segment := await text.next()) is None:
                    break
                start(segment)
            number = started - len(running)
            if error := await running[0].begun():
                unspeakable = error
            else:
                for message in silent(round(pause_after_s(before) * SAMPLE_RATE_HZ) if before else 0):
                    yield message
                lead_s = LONGEST_LEAD_S if before else max_lead_s
                reader = SegmentReader(
                    running,
                    Place(number, started, texts[0].strip()),
                    lambda lead_s=lead_s, number=number: (  # type: ignore[misc]
                        LeadTrimmer(lead_s),
                        SeamTrimmer(start=number > 0, end=True),
                    ),
                    None,
                )
                while reader.end is None:
                    if len(running) < _IN_FLIGHT and (ahead := text.take()) is not None:
                        start(ahead)
                    for message in await reader.read():
                        yield message
                ends.append(reader.end)
                before = texts[0]
            running.popleft()
            texts.popleft()
        if not ends:
            raise unspeakable or invalid(
                "text", "The text has nothing to speak. Send at least one word.", "empty_input"
            )
        yield Message(total_of(ends, left_out=unspeakable is not None))
    finally:
        for stream in running:
            stream.cancel()
        for stream in running:
            await stream.ended()
