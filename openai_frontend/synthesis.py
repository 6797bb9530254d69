"""One speech request from the API's side: a place, a lease on the model, the stream from Triton, the encoder.

Everything is a chain of async generators; closing the outermost one, which a hang-up does, closes the connection to
Triton and so cancels the request in the engine.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Self

from openai_frontend.admission import Admission
from openai_frontend.audio.formats import AudioFormat
from openai_frontend.audio.pipeline import SpeechEncoder
from openai_frontend.errors import timed_out
from openai_frontend.lifecycle import Lifecycle
from openai_frontend.triton import Message, Triton
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import EndEvent, StartEvent
from speech_protocol.request import SpeechRequest

logger = logging.getLogger(__name__)


# The model was not there to take the request, which can be sent once more.
_GONE: Final = {ErrorCode.MODEL_UNAVAILABLE, ErrorCode.MODEL_DIED, ErrorCode.SHUTTING_DOWN}


@dataclass(frozen=True, slots=True)
class Encoded:
    """A piece of the reply's body; the last one carries the figures of the utterance."""

    data: bytes
    end: EndEvent | None = None


class Body:
    """A reply's body, its first piece already there: an async iterator that must be closed, read to its end or not."""

    def __init__(self, first: Encoded, rest: AsyncGenerator[Encoded, None]) -> None:
        self._first: Encoded | None = first
        self._rest = rest

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Encoded:
        if self._first is None:
            return await anext(self._rest)
        first, self._first = self._first, None
        return first

    async def aclose(self) -> None:
        """Give everything back; before the end, this cancels the request in the engine."""
        await self._rest.aclose()


class Synthesis:
    """Turns requests into bodies. `started` keeps, for each model, what its last start event said of it."""

    def __init__(self, triton: Triton, lifecycle: Lifecycle, admission: Admission, timeout_s: float) -> None:
        self._triton = triton
        self._lifecycle = lifecycle
        self._admission = admission
        self._timeout_s = timeout_s
        self.started: dict[str, StartEvent] = {}

    def obeys_instruct(self, model: str) -> bool:
        """Whether instructions have an effect on the model's checkpoint; unknown, so true, before its first request."""
        return model not in self.started or self.started[model].obeys_instruct

    async def open(self, model: str, request: SpeechRequest, audio_format: AudioFormat, speed: float) -> Body:
        """Start the request and wait for its first audio: whatever can fail before that, fails here.

        Raises ApiError or SpeechError.
        """
        body = self._encode(self._speak(model, request), SpeechEncoder(audio_format, speed))
        try:
            first = await anext(body)
            if first.end is not None and not first.end.audio_samples:
                message = "The model made no audio of this input. Send other words."
                raise SpeechError(ErrorCode.ENGINE_FAILURE, message, "text")
        except BaseException:
            await body.aclose()
            raise
        return Body(first, body)

    async def _encode(
        self, messages: AsyncGenerator[Message, None], encoder: SpeechEncoder
    ) -> AsyncGenerator[Encoded, None]:
        try:
            async with aclosing(messages):
                async for message in messages:
                    if isinstance(message.event, EndEvent):
                        yield Encoded(await encoder.finish_async(), message.event)
                    elif data := await encoder.feed_async(message.pcm):
                        yield Encoded(data)
        finally:
            encoder.abort()

    async def _speak(self, model: str, request: SpeechRequest) -> AsyncGenerator[Message, None]:
        """Audio messages and the end event of one request."""
        with self._admission.admit():
            async with self._lifecycle.lease(model), aclosing(self._retried(model, request)) as messages:
                async for message in messages:
                    yield message

    async def _retried(self, model: str, request: SpeechRequest) -> AsyncGenerator[Message, None]:
        """The request's messages; once more from the start where the model turned out to be gone before any audio."""
        messages = self._in_time(model, request)
        try:
            first = await anext(messages)
        except SpeechError as error:
            if error.code not in _GONE:
                raise
            logger.warning("%s, asking again", error.message)
            self._lifecycle.mistrust(model, dead=error.code is ErrorCode.MODEL_DIED)
            await self._lifecycle.ensure_ready(model)
            messages = self._in_time(model, request)
            first = await anext(messages)
        async with aclosing(messages):
            yield first
            async for message in messages:
                yield message

    async def _in_time(self, model: str, request: SpeechRequest) -> AsyncGenerator[Message, None]:
        """Audio and end as Triton sends them, each message within the time-out. Raises ApiError 504."""
        async with aclosing(self._triton.speak(model, request)) as messages:
            while True:
                try:
                    async with asyncio.timeout(self._timeout_s or None):
                        message = await anext(messages)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise timed_out(self._timeout_s) from None
                if isinstance(message.event, StartEvent):
                    self.started[model] = message.event
                else:
                    yield message
