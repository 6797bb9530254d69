"""Word times of models without their own: each segment's audio is aligned with its text behind the audio."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from openai_frontend.models.lifecycle import Lifecycle
from openai_frontend.synthesis.segments import FirstMessage
from speech_client.stream import SpeechStream, StreamTimeoutError, Supervision
from speech_client.triton import Message, Triton
from speech_protocol.audio import SAMPLE_BYTES
from speech_protocol.errors import SpeechError
from speech_protocol.events import AudioEvent, EndEvent, Word
from speech_protocol.models import ALIGNER
from speech_protocol.request import SpeechRequest

logger = logging.getLogger(__name__)

# The words of a recording, PCM at 24 kHz, that speaks a text; in samples. Raises SpeechError.
Align = Callable[[bytes, str], Awaitable[list[Word]]]
# Longer segments, and those that wait behind more than MAX_WAITING others, get no times.
MAX_SEGMENT_S: Final = 300
MAX_WAITING: Final = 8
# After the last audio: for the times that are not there yet, a load of the model included.
LAST_WAIT_S: Final = 60.0
_MISSING: Final = "word timestamps are missing for parts of the text"


class Aligner:
    """Aligns by the Triton model `qwen3_forced_aligner`, which is loaded by its first recording."""

    def __init__(self, triton: Triton, lifecycle: Lifecycle, supervision: Supervision) -> None:
        self._triton, self._lifecycle, self._supervision = triton, lifecycle, supervision

    async def align(self, pcm: bytes, text: str) -> list[Word]:
        """See `Align`."""
        words: list[Word] = []
        async with self._lifecycle.lease(ALIGNER.name):
            request = SpeechRequest(text, ref_audio=pcm)
            stream = SpeechStream(self._triton, ALIGNER.name, request, self._supervision, may_wait=True)
            try:
                while not isinstance((message := await stream.next()).event, EndEvent):
                    if isinstance(message.event, AudioEvent):
                        words += message.event.words
            finally:
                stream.cancel()
                await stream.ended()
        return words


async def with_words(messages: AsyncGenerator[Message, None], align: Align) -> AsyncGenerator[Message, None]:
    """The messages with word times. They come with later audio than their own, or before the end event: sound is never
    delayed. Times that are not found are missing, with a warning in the end event."""
    segments = _Segments(align)
    try:
        async with aclosing(messages):
            async for message in messages:
                if isinstance(message.event, EndEvent):
                    words = await segments.rest()
                    if words:
                        yield Message(AudioEvent(0, words))
                    warnings = (*message.event.warnings, *segments.warnings())
                    yield replace(message, event=replace(message.event, warnings=warnings))
                elif isinstance(message.event, AudioEvent):
                    segments.hear(message)
                    yield replace(message, event=replace(message.event, words=segments.take()))
    finally:
        await segments.close()


@dataclass(slots=True)
class _Aligning:
    begin: int  # the segment's first sample in the reply
    words: asyncio.Task[list[Word]]


class _Segments:
    """The segments of a reply, each aligned by a task when its audio is complete."""

    def __init__(self, align: Align) -> None:
        self._align = align
        self._text: str | None = None  # of the segment that is heard
        self._pcm = bytearray()
        self._begin = self._samples = 0
        self._aligning: deque[_Aligning] = deque()
        self._one_at_a_time = asyncio.Lock()
        self._is_missing = False
        self._why = ""

    def warnings(self) -> tuple[str, ...]:
        """A sentence if times are missing."""
        return (f"{_MISSING}{self._why}",) if self._is_missing else ()

    def hear(self, message: Message) -> None:
        """The next audio."""
        if isinstance(message, FirstMessage):
            self._finish()
            self._text, self._begin = message.place.text, self._samples
        self._samples += len(message.pcm) // SAMPLE_BYTES
        self._pcm += message.pcm
        if len(self._pcm) > MAX_SEGMENT_S * 24_000 * SAMPLE_BYTES:
            self._text, self._is_missing = None, True
            self._pcm.clear()

    def take(self) -> tuple[Word, ...]:
        """The words that have been found, in order, their samples counted from the segment that is heard."""
        words: list[Word] = []
        while self._aligning and self._aligning[0].words.done():
            done = self._aligning.popleft()
            shift = done.begin - self._begin
            words += (Word(each.text, each.start + shift, each.end + shift) for each in self._words_of(done.words))
        return tuple(words)

    async def rest(self) -> tuple[Word, ...]:
        """All words that are left, if they are found in time."""
        self._finish()
        if self._aligning:
            await asyncio.wait([each.words for each in self._aligning], timeout=LAST_WAIT_S)
        words = self.take()
        self._is_missing |= bool(self._aligning)
        return words

    async def close(self) -> None:
        """Cancel what is left."""
        tasks = [each.words for each in self._aligning]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _finish(self) -> None:
        text, pcm, self._text = self._text, bytes(self._pcm), None
        self._pcm.clear()
        if text is None or not pcm:
            return
        if len(self._aligning) >= MAX_WAITING:
            self._is_missing = True
            return
        self._aligning.append(_Aligning(self._begin, asyncio.create_task(self._align_one(pcm, text))))

    async def _align_one(self, pcm: bytes, text: str) -> list[Word]:
        async with self._one_at_a_time:
            return await self._align(pcm, text)

    def _words_of(self, task: asyncio.Task[list[Word]]) -> list[Word]:
        try:
            return task.result()
        except (SpeechError, StreamTimeoutError) as error:
            logger.warning("word times are missing: %s", error)
            self._is_missing, self._why = True, f": {error}"
            return []
