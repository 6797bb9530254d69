"""One speech request from the API's side: a place, its script, a lease on the model, streams from Triton, the encoder.

Everything is a chain of async generators; closing the outermost one, which a hang-up does, closes the connections to
Triton and so cancels the request's segments in the engine.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Hashable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import Final, Self

from openai_frontend.audio.formats import AudioFormat
from openai_frontend.audio.pipeline import SpeechEncoder
from openai_frontend.errors import from_speech_error, timed_out
from openai_frontend.models.lifecycle import Lifecycle, ReplacedError
from openai_frontend.observability.metrics import Metrics
from openai_frontend.observability.tracing import Trace, Tracer
from openai_frontend.synthesis.admission import Admission
from openai_frontend.synthesis.preparation import Rules, TextPreparation
from openai_frontend.synthesis.record import RequestRecord
from openai_frontend.synthesis.script import Place
from openai_frontend.synthesis.segments import FirstMessage, play_script, segment_seed
from openai_frontend.thread_pools import Pools
from speech_client.triton import Message, Triton
from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import EndEvent, StartEvent
from speech_protocol.languages import AUTO
from speech_protocol.models import HIBARI, QWEN3_TTS
from speech_protocol.request import SpeechRequest

logger = logging.getLogger(__name__)


# The model was not there to take the request, which can be sent once more.
_GONE: Final = {ErrorCode.MODEL_UNAVAILABLE, ErrorCode.MODEL_DIED, ErrorCode.SHUTTING_DOWN}
# These may well be served later.
_OVERLOADED: Final = {ErrorCode.QUEUE_FULL, ErrorCode.BUSY}
# How many segments of a long text run ahead of the one being read, in a house with few requests. With more of them
# each has one place in the engine's batch: a book must not take those that others wait for.
_SEGMENTS_AHEAD: Final = 2
_FEW_REQUESTS: Final = 4
_QUEUE_POLL_S: Final = 0.2
# So long a model may send nothing before its process is asked for.
_SILENCE_S: Final = 2.0
_MULTILINGUAL: Final = frozenset(spec.name for spec in QWEN3_TTS)


@dataclass(frozen=True, slots=True)
class SegmentStart:
    """Where a segment begins in the reply's audio, its speed included."""

    place: Place
    start_s: float


@dataclass(frozen=True, slots=True)
class Encoded:
    """A piece of the reply's body; the last one carries the figures of the utterance. `begun`: segments that begin in
    this piece, or in audio before it that the encoder held back."""

    data: bytes
    end: EndEvent | None = None
    begun: tuple[SegmentStart, ...] = ()


class Body:
    """A reply's body, its first piece already there: an async iterator that must be closed, read to its end or not."""

    def __init__(self, first: Encoded, rest: AsyncGenerator[Encoded, None], warnings: tuple[str, ...] = ()) -> None:
        self._first: Encoded | None = first
        self._rest = rest
        self.warnings = warnings

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
    """FairQueue requests into bodies. `started` keeps, for each model, what its last start event said of it."""

    def __init__(
        self,
        triton: Triton,
        lifecycle: Lifecycle,
        admission: Admission,
        timeout_s: float,
        started: dict[str, StartEvent],
        metrics: Metrics,
        tracer: Tracer,
        pools: Pools,
        *,
        reads_markdown: bool,
        max_lead_s: float,
    ) -> None:
        self._triton = triton
        self._lifecycle = lifecycle
        self._admission = admission
        self._timeout_s = timeout_s
        self._reads_markdown = reads_markdown
        self._max_lead_s = max_lead_s
        self._metrics = metrics
        self.tracer = tracer
        self._pools = pools
        self._texts = TextPreparation(pools.text)
        self.started = started

    def supports_instructions(self, model: str) -> bool:
        """Whether instructions have an effect on the model's checkpoint; unknown, so true, before its first request."""
        return model not in self.started or self.started[model].supports_instructions

    async def open(
        self,
        model: str,
        request: SpeechRequest,
        audio_format: AudioFormat,
        speed: float,
        *,
        whole: bool = False,
        owner: Hashable = None,
    ) -> Body:
        """Start the request and wait for its first audio: whatever can fail before that, fails here.

        `whole` speaks the text as it stands, in one utterance: no cuts, no pause marks. Owners take turns.
        Raises ApiError or SpeechError.
        """
        encoder = SpeechEncoder(audio_format, speed, self._pools.encoding)
        trace = self.tracer.start("speech")
        record = RequestRecord(self._metrics, model, request, audio_format.name, trace)
        request = replace(request, traceparent=trace.traceparent)
        warnings: list[str] = []
        body = self._encode(self._speak(model, request, whole, owner, trace, warnings), encoder, record)
        try:
            first = await anext(body)
            if first.end is not None and not first.end.audio_samples:
                message = "The model made no audio of this input. Send another text, or another seed."
                raise SpeechError(ErrorCode.ENGINE_FAILURE, message, "text")
        except BaseException as error:
            await body.aclose()
            if isinstance(error, SpeechError) and error.code in _OVERLOADED:
                raise from_speech_error(error, self._admission.retry_after_s()) from error
            raise
        return Body(first, body, tuple(warnings))

    async def _encode(
        self, messages: AsyncGenerator[Message, None], encoder: SpeechEncoder, record: RequestRecord
    ) -> AsyncGenerator[Encoded, None]:
        samples = 0
        begun: tuple[SegmentStart, ...] = ()
        try:
            async with aclosing(messages):
                asked_s = time.monotonic()
                async for message in messages:
                    record.arrived(message, asked_s)
                    begin_s = time.monotonic()
                    end = message.event if isinstance(message.event, EndEvent) else None
                    data = await (encoder.feed_async(message.pcm) if end is None else encoder.finish_async())
                    record.encoder_s += time.monotonic() - begin_s
                    if isinstance(message, FirstMessage):
                        begun += (SegmentStart(message.place, samples / SAMPLE_RATE_HZ / encoder.speed),)
                    samples += len(message.pcm) // SAMPLE_BYTES
                    if data or end is not None:
                        yield Encoded(data, end, begun)
                        begun = ()
                    asked_s = time.monotonic()
            record.ended()
        except Exception as error:
            record.failed(error)
            raise
        finally:
            encoder.abort()
            record.close()

    async def _speak(
        self, model: str, request: SpeechRequest, whole: bool, owner: Hashable, trace: Trace, warnings: list[str]
    ) -> AsyncGenerator[Message, None]:
        """Audio messages and the end event of one request, whose text may be long and have pause marks. Adds to
        `warnings` before the first message."""
        with self._admission.admit(owner):
            prepared = await self._texts.prepare(
                request.text, request.language, self._rules(model, request, whole), owner
            )
            script, language = prepared.script, prepared.language
            warnings += prepared.warnings
            seed = secrets.randbits(63) if request.seed is None and len(script) > 1 else request.seed

            def speak(number: int, text: str, attempt: int) -> AsyncGenerator[Message, None]:
                own = None if seed is None else segment_seed(seed, number) ^ attempt
                segment = replace(request, text=text, language=language, seed=own)
                return self._segment(model, segment, may_wait=number > 0)

            begin_s = time.monotonic()
            async with AsyncExitStack() as held:
                with trace.part("queue"):
                    await held.enter_async_context(self._admission.fair_queue.take(owner))
                self._metrics.queue_wait.labels(model, "frontend").observe(time.monotonic() - begin_s)
                with trace.part("load"):
                    await held.enter_async_context(self._lifecycle.lease(model))
                recited = play_script(script, speak, self._ahead, self._max_lead_s, retries=request.seed is None)
                messages = await held.enter_async_context(aclosing(recited))
                async for message in messages:
                    yield message

    def _rules(self, model: str, request: SpeechRequest, whole: bool) -> Rules:
        # A language that was asked for and is not spoken is the model's to refuse.
        is_english = model == HIBARI.name and request.language in {AUTO, "english"}
        return Rules(whole, self._reads_markdown, guesses_language=model in _MULTILINGUAL, reads_latin_only=is_english)

    def _ahead(self) -> int:
        return _SEGMENTS_AHEAD if self._admission.pending <= _FEW_REQUESTS else 0

    async def _segment(self, model: str, request: SpeechRequest, *, may_wait: bool) -> AsyncGenerator[Message, None]:
        """One segment's messages: audio and the end."""
        first, messages = await self._begin(model, request, may_wait=may_wait)
        async with aclosing(messages):
            yield first
            async for message in messages:
                yield message

    async def _begin(
        self, model: str, request: SpeechRequest, *, may_wait: bool
    ) -> tuple[Message, AsyncGenerator[Message, None]]:
        """A segment's first message and the rest; once more from the start where the model turned out to be gone.

        `may_wait`: a full queue is waited for, since the reader has the segments before this one already.
        """
        begin_s = time.monotonic()
        gone = False
        while True:
            generation = self._lifecycle.generation(model)
            messages = self._in_time(model, request, generation)
            try:
                return await anext(messages), messages
            except SpeechError as error:
                waited_s = time.monotonic() - begin_s
                if error.code in _GONE and not gone:
                    gone = True
                    logger.warning("%s, asking again", error.message)
                    self._lifecycle.mark_unavailable(model, generation, dead=_has_died(error))
                    await self._lifecycle.ensure_ready(model)
                elif error.code is ErrorCode.QUEUE_FULL and may_wait and waited_s < (self._timeout_s or float("inf")):
                    await asyncio.sleep(_QUEUE_POLL_S)
                else:
                    raise

    async def _in_time(self, model: str, request: SpeechRequest, generation: int) -> AsyncGenerator[Message, None]:
        """Audio and end as Triton sends them, each message within the time-out. Raises ApiError 504, and SpeechError
        within seconds where the model's process dies."""
        process = ""
        async with aclosing(self._triton.speak(model, request)) as messages:
            while True:
                try:
                    async with asyncio.timeout(self._timeout_s or None):
                        message = await self._next(model, messages, generation, process)
                except TimeoutError:
                    raise timed_out(self._timeout_s) from None
                if message is None:
                    return
                if isinstance(message.event, StartEvent):
                    self.started[model] = message.event
                    process = message.event.process
                else:
                    yield message

    async def _next(
        self, model: str, messages: AsyncGenerator[Message, None], generation: int, process: str
    ) -> Message | None:
        """The next message, None after the last one. Streams of a process that dies end in nothing, not even in an
        error, so while no message comes, the process is asked for."""
        coming = asyncio.create_task(_read(messages))
        try:
            while not (await asyncio.wait((coming,), timeout=_SILENCE_S))[0]:
                await self._lifecycle.check_alive(model, generation, process)
            return coming.result()
        except SpeechError as error:
            if _has_died(error):
                self._lifecycle.mark_unavailable(model, generation, dead=True)
            raise
        finally:
            if not coming.done():
                coming.cancel()
                await asyncio.wait((coming,))
            if not coming.cancelled():
                coming.exception()  # which nobody may have asked for


def _has_died(error: SpeechError) -> bool:
    """Whether the model is dead now, and not only the process that was asked."""
    return error.code is ErrorCode.MODEL_DIED and not isinstance(error, ReplacedError)


async def _read(messages: AsyncGenerator[Message, None]) -> Message | None:
    return await anext(messages, None)
