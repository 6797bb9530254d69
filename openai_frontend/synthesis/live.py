"""Streaming text input, cut into segments: complete sentences, or the beginning of a text and what follows it."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from openai_frontend.errors import ApiError, invalid
from speech_protocol.stable_text import stable_length
from speech_text.segments import SEGMENT_WIDTH, is_spoken, split_segments, text_width
from speech_text.sentences import split_clauses, split_sentences

# The first segment may end at a clause that is this wide, so that speech starts before the first sentence is complete.
_FIRST_CLAUSE_WIDTH: Final = 40
# An utterance to which text is appended begins with this much of it: some words.
_BEGIN_WIDTH: Final = 12
# It takes a token for each 80 ms of audio, so text that arrives more slowly would leave gaps inside of sentences.
_MIN_WIDTH_PER_S: Final = 60.0
_SLACK_WIDTH: Final = 6

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a segment; `final`: the last one."""

    text: str
    final: bool


class LiveText:
    """Collects pieces of text, split anywhere, into segments. For one event loop.

    `limit_chars` limits the whole text; a reader that waits `idle_s` seconds for more raises an error. A segment is
    read either whole, by `next`, or while it is written, by `begin` and `more`.
    """

    def __init__(self, limit_chars: int, idle_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_chars, self._idle_s, self._clock = limit_chars, idle_s, clock
        self._open = ""  # the part that may be an incomplete sentence
        self._ready: deque[str | None] = deque()  # complete sentences; None: a flush
        self._changed = asyncio.Event()
        self._chars = 0
        self._has_begun = False
        self._begun: list[Piece] = []  # what `begin` and `more` have returned of the segment
        # The pace, without pauses after a flush: the width of what arrived after earlier text, and how long it took.
        self._last_s: float | None = None  # None: no text since the last flush
        self._later_width, self._later_s = 0, 0.0
        self.is_closed = False

    def append(self, piece: str) -> None:
        """Append a piece. Raises ApiError 400 after `close`, or if the text is too long."""
        if self.is_closed:
            raise invalid("text", "The text has ended. Start another utterance.")
        if self._chars + len(piece) > self._limit_chars:
            message = f"The text has more than {self._limit_chars} characters. Send the rest as another utterance."
            raise invalid("text", message, "string_above_max_length")
        now_s = self._clock()
        if self._last_s is not None:
            self._later_width += text_width(piece)
            self._later_s += now_s - self._last_s
        self._last_s = now_s
        self._chars += len(piece)
        self._open += piece
        self._cut()
        self._changed.set()

    def flush(self) -> None:
        """Treat the text so far as complete. The time until more arrives is a pause, not a slow text."""
        self._last_s = None
        self._end_segment()
        self._changed.set()

    def close(self) -> None:
        """End the text. Idempotent."""
        self.flush()
        self.is_closed = True

    def take(self) -> str | None:
        """The next segment, with as many complete sentences as fit, or None if none is complete."""
        segment = ""
        while self._ready:
            part = self._ready[0]
            if segment and (part is None or text_width(segment) + text_width(part) > SEGMENT_WIDTH):
                break
            segment += self._ready.popleft() or ""
        self._has_begun |= bool(segment)
        return segment or None

    async def next(self) -> str | None:
        """Wait for the next segment; None at the end. Raises ApiError 408 if no text arrives in time."""
        return await self._wait_for(self.take)

    @property
    def arrives_fast(self) -> bool:
        """Whether text has arrived as fast as an utterance takes it."""
        return self._later_width + _SLACK_WIDTH >= _MIN_WIDTH_PER_S * self._later_s

    async def begin(self) -> Piece | None:
        """Wait for the beginning of the next segment, some words at least; None at the end. Raises ApiError 408."""
        self._begun = []
        return await self._wait_for(lambda: self._take_open(begins=True) if self._can_begin() else None)

    async def more(self) -> Piece:
        """Wait for more of the segment that was begun. Raises ApiError 408."""
        piece = await self._wait_for(lambda: self._take_open(begins=False))
        return piece or Piece("", final=True)

    def take_back(self) -> None:
        """Undo `begin` and `more` of the segment."""
        parts: list[str | None] = []
        for piece in self._begun:
            parts += [piece.text, *[None] * piece.final]
        self._replay([*parts, *self._ready, self._open])

    def put_back(self, piece: Piece) -> None:
        """Undo the last `more`; the segment has ended before it."""
        self._replay([piece.text, *[None] * piece.final, *self._ready, self._open])

    def _replay(self, parts: list[str | None]) -> None:
        self._open, self._begun = "", []
        self._ready.clear()
        for part in parts:
            if part is None:
                self._end_segment()
            else:
                self._open += part
                self._cut()

    def _end_segment(self) -> None:
        if is_spoken(self._open):
            self._ready.append(self._open)
        self._open = ""
        self._ready.append(None)

    async def _wait_for(self, take: Callable[[], T | None]) -> T | None:
        try:
            async with asyncio.timeout(self._idle_s or None):
                while (taken := take()) is None and not self.is_closed:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            message = f"No text arrived for {self._idle_s:g} s. Send text, or end the utterance."
            raise ApiError(408, "request_timeout", message) from None
        return taken

    def _can_begin(self) -> bool:
        # Complete sentences wait for no more.
        return bool(self._ready) or text_width(self._open[: stable_length(self._open)]) >= _BEGIN_WIDTH

    def _take_open(self, *, begins: bool) -> Piece | None:
        """All text up to a flush, or to the end of a sentence beyond the width of a segment."""
        text, width = "", sum(text_width(piece.text) for piece in self._begun)
        final = False
        while self._ready and not final:
            part = self._ready.popleft()
            final = bool(text or not begins) if part is None else width + text_width(text + part) > SEGMENT_WIDTH
            text += part or ""
        if not final:
            text, self._open = text + self._open, ""
        if not text and not final:
            return None
        self._has_begun = True
        self._begun.append(piece := Piece(text, final))
        return piece

    def _cut(self) -> None:
        complete, self._open = _complete(self._open, is_first=not self._has_begun and not self._ready)
        self._ready += (sentence for sentence in complete if is_spoken(sentence))


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
