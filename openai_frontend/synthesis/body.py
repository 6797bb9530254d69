"""The body of a speech reply: the messages of a script after speed change and encoding."""

import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Self

from openai_frontend.audio.pipeline import SpeechEncoder
from openai_frontend.errors import timed_out
from openai_frontend.synthesis.record import RequestRecord
from openai_frontend.synthesis.script import Place
from openai_frontend.synthesis.segments import FirstMessage
from speech_client.stream import StreamTimeoutError
from speech_client.triton import Message
from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import AudioEvent, EndEvent


@dataclass(frozen=True, slots=True)
class SegmentStart:
    """When a segment begins in the reply's audio, in seconds at the reply's speed."""

    place: Place
    start_s: float


@dataclass(frozen=True, slots=True)
class WordTime:
    """The times of a word in the reply's audio, in seconds at the reply's speed."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Encoded:
    """A piece of the reply's body; the last one has the totals of the utterance. `begun` and `words`: segments and
    words that begin in this piece, or in earlier audio that the encoder held back."""

    data: bytes
    end: EndEvent | None = None
    begun: tuple[SegmentStart, ...] = ()
    words: tuple[WordTime, ...] = ()


class Body:
    """An async iterator of encoded pieces, the first of which is ready. Must be closed, whether or not it was read to
    its end.

    Iteration raises ApiError or SpeechError. `held` is released when the body is closed, the admission last.
    """

    def __init__(self, encoder: SpeechEncoder, record: RequestRecord, held: AsyncExitStack) -> None:
        self._encoder, self._record, self._held = encoder, record, held
        self._messages: AsyncGenerator[Message, None] | None = None
        self._first: Encoded | None = None
        self._samples = self._segment_begin = 0
        self._closed = False
        self.warnings: tuple[str, ...] = ()

    async def start(self, messages: AsyncGenerator[Message, None]) -> None:
        """Wait for the first piece. Raises ApiError or SpeechError if there is no audio."""
        self._messages = messages
        self._first = await self._read()
        if self._first is None or (self._first.end is not None and not self._first.end.audio_samples):
            message = "The model produced no audio for this input. Send another text or another seed."
            error = SpeechError(ErrorCode.ENGINE_FAILURE, message, "text")
            self._record.failed(error)
            raise error

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Encoded:
        piece, self._first = self._first, None
        if piece is None and (piece := await self._read()) is None:
            self._record.ended()
            raise StopAsyncIteration
        return piece

    def failed(self, error: Exception) -> None:
        """Record an error before the first piece."""
        self._record.failed(error)

    async def aclose(self) -> None:
        """Release everything; before the end, this cancels the request in the engine."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._messages is not None:
                await self._messages.aclose()
        finally:
            self._encoder.abort()
            self._record.close()
            await self._held.aclose()

    async def _read(self) -> Encoded | None:
        """The next piece; None after the last one."""
        try:
            return await self._encode_next()
        except StreamTimeoutError as error:
            late = timed_out(error.limit_s)
            self._record.failed(late)
            raise late from None
        except Exception as error:
            self._record.failed(error)
            raise

    async def _encode_next(self) -> Encoded | None:
        begun: tuple[SegmentStart, ...] = ()
        words: tuple[WordTime, ...] = ()
        messages = self._messages
        if messages is None or self._closed:
            return None
        asked_s = time.monotonic()
        while (message := await anext(messages, None)) is not None:
            self._record.arrived(message, asked_s)
            begin_s = time.monotonic()
            end = message.event if isinstance(message.event, EndEvent) else None
            data = await (self._encoder.feed_async(message.pcm) if end is None else self._encoder.finish_async())
            self._record.encoder_s += time.monotonic() - begin_s
            if isinstance(message, FirstMessage):
                self._segment_begin = self._samples
                begun += (SegmentStart(message.place, self._seconds(0)),)
            if isinstance(message.event, AudioEvent):
                words += tuple(
                    WordTime(word.text, self._seconds(word.start), self._seconds(word.end))
                    for word in message.event.words
                )
            self._samples += len(message.pcm) // SAMPLE_BYTES
            if data or end is not None:
                return Encoded(data, end, begun, words)
            asked_s = time.monotonic()
        return None

    def _seconds(self, sample: int) -> float:
        """The time of a sample of the current segment in the reply's audio, in seconds."""
        return (self._segment_begin + sample) / SAMPLE_RATE_HZ / self._encoder.speed
