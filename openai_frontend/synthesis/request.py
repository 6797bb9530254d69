"""One speech request: admission, text preparation, queueing, the lease on a model, and the streams of its segments."""

import secrets
import time
from collections.abc import AsyncGenerator, Hashable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Final

from openai_frontend.audio.formats import AudioFormat
from openai_frontend.audio.pipeline import SpeechEncoder
from openai_frontend.errors import from_speech_error
from openai_frontend.models.lifecycle import Lifecycle
from openai_frontend.observability.metrics import Metrics
from openai_frontend.observability.tracing import Trace, Tracer
from openai_frontend.synthesis.admission import Admission
from openai_frontend.synthesis.alignment import Aligner, with_words
from openai_frontend.synthesis.appending import Appending
from openai_frontend.synthesis.body import Body
from openai_frontend.synthesis.live import LiveText
from openai_frontend.synthesis.live_playback import play_live
from openai_frontend.synthesis.preparation import Rules, TextPreparation
from openai_frontend.synthesis.record import RequestRecord
from openai_frontend.synthesis.script import Script
from openai_frontend.synthesis.segments import Speak, play_script, segment_seed
from openai_frontend.thread_pools import Pools
from speech_client.stream import SpeechStream, Supervision
from speech_client.triton import Message, Triton
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.languages import AUTO
from speech_protocol.models import HIBARI, QWEN3_TTS
from speech_protocol.request import SpeechRequest

# Errors with a number of seconds after which a retry may succeed.
_OVERLOADED: Final = {ErrorCode.QUEUE_FULL, ErrorCode.BUSY}
# How many segments of a long text are synthesized ahead of the one being read while few requests are in flight. With
# more requests, each has one row of the engine's batch: a book must not occupy rows that others are waiting for.
_SEGMENTS_AHEAD: Final = 2
_FEW_REQUESTS: Final = 4
_MULTILINGUAL: Final = frozenset(spec.name for spec in QWEN3_TTS)


@dataclass(frozen=True, slots=True)
class SynthesisOptions:
    """`reads_markdown`: remove Markdown from texts; `max_lead_s`: maximum silence before a reply's first sound, in
    seconds; `appends_text`: append streaming text to utterances in flight, if the model can do so."""

    reads_markdown: bool
    max_lead_s: float
    appends_text: bool = True


class Synthesis:
    """Opens the reply bodies of speech requests."""

    def __init__(
        self,
        triton: Triton,
        lifecycle: Lifecycle,
        admission: Admission,
        supervision: Supervision,
        metrics: Metrics,
        tracer: Tracer,
        pools: Pools,
        options: SynthesisOptions,
    ) -> None:
        self._triton = triton
        self._lifecycle = lifecycle
        self._admission = admission
        self._supervision = supervision
        self._metrics = metrics
        self.tracer = tracer
        self._pools = pools
        self._options = options
        self._texts = TextPreparation(pools.text)
        self._aligner = Aligner(triton, lifecycle, supervision)

    async def open(
        self,
        model: str,
        request: SpeechRequest,
        audio_format: AudioFormat,
        speed: float,
        *,
        whole: bool = False,
        live: LiveText | None = None,
        words: bool = False,
        owner: Hashable = None,
    ) -> Body:
        """Start the request and wait for its first audio, so that all errors before it are raised here.

        `whole` synthesizes the text unchanged, in one utterance: no segments, no pause marks. `live`: streaming text
        that replaces the request's. `words`: with the times of words, from the aligner if the model has none. The queue
        is fair between owners. Raises ApiError or SpeechError.
        """
        aligns = words and model != HIBARI.name
        trace = self.tracer.start("speech")
        record = RequestRecord(self._metrics, model, request, audio_format.name, trace)
        body = Body(SpeechEncoder(audio_format, speed, self._pools.encoding), record, held := AsyncExitStack())
        try:
            held.enter_context(self._admission.admit(owner))
            request = replace(request, traceparent=trace.traceparent)
            if live is None:
                rules = self._rules(model, request, whole)
                prepared = await self._texts.prepare(request.text, request.language, rules, owner)
                body.warnings = prepared.warnings
            await self._wait_for_model(model, owner, trace, held)
            if live is None:
                messages = self._play(model, replace(request, language=prepared.language), prepared.script)
            else:
                messages = self._play_live(model, request, live, appends=not aligns)
            if aligns:
                messages = with_words(messages, self._aligner.align)
            await body.start(messages)
        except BaseException as error:
            if isinstance(error, Exception):
                body.failed(error)
            await body.aclose()
            if isinstance(error, SpeechError) and error.code in _OVERLOADED:
                raise from_speech_error(error, self._admission.retry_after_s()) from error
            raise
        return body

    async def _wait_for_model(self, model: str, owner: Hashable, trace: Trace, held: AsyncExitStack) -> None:
        """Add a slot of the fair queue and a lease on the model to `held`."""
        begin_s = time.monotonic()
        with trace.part("queue"):
            await held.enter_async_context(self._admission.fair_queue.take(owner))
        self._metrics.queue_wait.labels(model, "frontend").observe(time.monotonic() - begin_s)
        with trace.part("load"):
            await held.enter_async_context(self._lifecycle.lease(model))

    def _rules(self, model: str, request: SpeechRequest, whole: bool) -> Rules:
        # A requested language that is unsupported is rejected by the model.
        is_english = model == HIBARI.name and request.language in {AUTO, "english"}
        guesses = model in _MULTILINGUAL
        return Rules(whole, self._options.reads_markdown, guesses_language=guesses, reads_latin_only=is_english)

    def _play(self, model: str, request: SpeechRequest, script: Script) -> AsyncGenerator[Message, None]:
        """The messages of a script. The segments of a request share its seed, or a random one."""
        retries = request.seed is None
        speak = self._speak(model, request, secrets.randbits(63) if len(script) > 1 else None)
        return play_script(script, speak, self._ahead, self._options.max_lead_s, retries=retries)

    def _play_live(
        self, model: str, request: SpeechRequest, text: LiveText, *, appends: bool
    ) -> AsyncGenerator[Message, None]:
        request = replace(request, seed=secrets.randbits(63) if request.seed is None else request.seed)
        may_append = appends and self._options.appends_text and model in _MULTILINGUAL
        appending = Appending(self._triton, self._supervision, model, request) if may_append else None
        return play_live(text, self._speak(model, request, None), appending, self._options.max_lead_s)

    def _speak(self, model: str, request: SpeechRequest, chosen_seed: int | None) -> Speak:
        """Starts the segments of a request, with `chosen_seed` if the request has none."""
        seed = chosen_seed if request.seed is None else request.seed

        def speak(number: int, text: str, attempt: int) -> SpeechStream:
            own = None if seed is None else segment_seed(seed, number) ^ attempt
            segment = replace(request, text=text, seed=own)
            return SpeechStream(self._triton, model, segment, self._supervision, may_wait=number > 0)

        return speak

    def _ahead(self) -> int:
        return _SEGMENTS_AHEAD if self._admission.pending <= _FEW_REQUESTS else 0
