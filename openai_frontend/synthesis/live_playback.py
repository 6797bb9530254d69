"""The audio of a text while it is written."""

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

from openai_frontend.audio.seam import LONGEST_LEAD_S, LeadTrimmer, SeamTrimmer
from openai_frontend.errors import invalid
from openai_frontend.synthesis.appending import Appending
from openai_frontend.synthesis.live import LiveText, Piece
from openai_frontend.synthesis.script import Place
from openai_frontend.synthesis.segments import SegmentReader, Speak, silent, total_of
from speech_client.stream import SpeechStream
from speech_client.triton import Message
from speech_protocol.audio import SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import EndEvent
from speech_text.segments import pause_after_s

# Segments in flight: the one being read, and the next one, which is ready when the first has ended.
_IN_FLIGHT: Final = 2
# Between two requests that append text to an utterance: an utterance takes a token every 80 ms.
_APPEND_INTERVAL_S: Final = 0.05


@dataclass(slots=True)
class _Segment:
    number: int
    text: str  # so far
    stream: SpeechStream


async def play_live(
    text: LiveText, speak: Speak, appending: Appending | None, max_lead_s: float
) -> AsyncGenerator[Message, None]:
    """The audio of a text in order while it is written, then one end event with the totals.

    With `appending`, text that arrives fast is appended to the utterance in flight, if the model can do so; otherwise
    complete sentences are utterances. The next segment is in flight before the current one has ended, so the gap
    between them is the natural pause. Raises SpeechError and ApiError.
    """
    feeder = _Feeder(text, speak, appending)
    ends: list[EndEvent] = []
    unspeakable: SpeechError | None = None
    before, pause_s = "", 0.0
    try:
        while True:
            if pause_s and not feeder.has_next and not text.is_closed:
                # While more text is awaited, the pause after the last segment passes.
                for message in silent(round(pause_s * SAMPLE_RATE_HZ)):
                    yield message
                pause_s = 0.0
            if (segment := await feeder.next()) is None:
                break
            if error := await segment.stream.begun():
                unspeakable = error
            else:
                for message in silent(round(pause_s * SAMPLE_RATE_HZ)):
                    yield message
                reader = _reader(segment, LONGEST_LEAD_S if before else max_lead_s)
                while reader.end is None:
                    for message in await reader.read():
                        yield message
                ends.append(reader.end)
                before = segment.text
                pause_s = pause_after_s(before)
            feeder.done()
        if not ends:
            raise unspeakable or invalid(
                "text", "The text has nothing to speak. Send at least one word.", "empty_input"
            )
        yield Message(total_of(ends, left_out=unspeakable is not None))
    finally:
        await feeder.close()


def _reader(segment: _Segment, lead_s: float) -> SegmentReader:
    place = Place(segment.number, segment.number + 1, segment.text.strip())

    def trimmers() -> tuple[LeadTrimmer, SeamTrimmer]:
        return LeadTrimmer(lead_s), SeamTrimmer(start=segment.number > 0, end=True)

    return SegmentReader(deque([segment.stream]), place, trimmers, None)


class _Feeder:
    """Starts the segments of a text as it arrives, and appends to them, in one task."""

    def __init__(self, text: LiveText, speak: Speak, appending: Appending | None) -> None:
        self._text, self._speak, self._appending = text, speak, appending
        self._running: deque[_Segment] = deque()
        self._started: asyncio.Queue[_Segment | Exception | None] = asyncio.Queue()
        self._free = asyncio.Semaphore(_IN_FLIGHT)
        self._task = asyncio.create_task(self._run())

    @property
    def has_next(self) -> bool:
        """Whether `next` returns at once."""
        return not self._started.empty()

    async def next(self) -> _Segment | None:
        """The next segment; None at the end. Raises SpeechError and ApiError."""
        segment = await self._started.get()
        if isinstance(segment, Exception):
            raise segment
        return segment

    def done(self) -> None:
        """The first of the segments has been read."""
        self._running.popleft()
        self._free.release()

    async def close(self) -> None:
        """Cancel everything in flight, and wait until the connections are released."""
        self._task.cancel()
        for segment in self._running:
            segment.stream.cancel()
        for segment in self._running:
            await segment.stream.ended()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            number = 0
            while await self._start(number):
                number += 1
            self._started.put_nowait(None)
        except Exception as error:  # noqa: BLE001 - raised by `next`
            self._started.put_nowait(error)

    async def _start(self, number: int) -> bool:
        """Start the next segment, once there is text for it; False at the end."""
        await self._free.acquire()
        if self._appending is not None:
            begin = await self._text.begin()
            if begin is None:
                return False
            if not begin.final and self._text.arrives_fast and await self._open(number, begin, self._appending):
                return True
            self._text.take_back()
        whole = await self._text.next()
        if whole is None:
            return False
        self._add(_Segment(number, whole, self._speak(number, whole.strip(), 0)))
        return True

    def _add(self, segment: _Segment) -> None:
        self._running.append(segment)
        self._started.put_nowait(segment)

    async def _open(self, number: int, begin: Piece, appending: Appending) -> bool:
        """Open an utterance and append its text as it arrives, to its end. False if the model can't do so."""
        stream_id = uuid.uuid4().hex
        segment = _Segment(number, begin.text, appending.open(number, begin.text, stream_id))
        self._running.append(segment)
        try:
            await segment.stream.begun()
        except SpeechError as error:
            if error.code is ErrorCode.UNSUPPORTED_TASK and error.param == "stream_id":
                self._running.pop()
                self._appending = None
                return False
        except Exception:  # noqa: BLE001 - raised again where the segment is read
            pass
        self._started.put_nowait(segment)
        try:
            await self._append(segment, stream_id, appending)
        except Exception as error:
            segment.stream.fail(error)
            raise
        segment.stream.text_ended()
        return True

    async def _append(self, segment: _Segment, stream_id: str, appending: Appending) -> None:
        """Append text to the segment as it arrives, until it ends or takes no more."""
        piece = Piece("", final=False)
        while not piece.final:
            piece = await self._text.more()
            try:
                await appending.append(stream_id, piece)
            except SpeechError as error:
                if error.code is not ErrorCode.INVALID_REQUEST:
                    raise
                self._text.put_back(piece)  # it has ended by itself, or is as long as it may be
                if error.param == "text":
                    await appending.append(stream_id, Piece("", final=True))
                return
            segment.text += piece.text
            await asyncio.sleep(_APPEND_INTERVAL_S)
