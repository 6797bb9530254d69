"""What an operator sees of the frontend: Prometheus metrics, and one record a request.

Labels are bounded: models by the repository, formats and outcomes by this code, and never a word of a request.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.openmetrics.exposition import generate_latest

from openai_frontend.errors import ApiError, from_speech_error
from openai_frontend.observability.tracing import Trace
from speech_client.triton import Message, ModelState
from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import GUARD_REASONS, EndEvent
from speech_protocol.models import MODELS, Task
from speech_protocol.request import SpeechRequest

logger = logging.getLogger("openai_frontend.requests")

CONTENT_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_SPEECH: Final = ("model", "voice_kind", "format")
_SECONDS: Final = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 120, 300)
_REAL_TIME: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.75, 1, 1.5, 2, 5)
_REFUSED: Final = {"server_overloaded", "queue_timeout", ErrorCode.QUEUE_FULL, ErrorCode.BUSY}
# A chunk that comes so much after the one before was played is heard as a gap.
_GRACE_S: Final = 0.01
_BYTES_PER_SECOND: Final = SAMPLE_RATE_HZ * SAMPLE_BYTES


class Outcome(StrEnum):
    """How a request ended: all of it was sent; the request was invalid; it was refused for want of capacity; the
    server failed; its client disconnected."""

    OK = "ok"
    INVALID = "invalid"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Metrics:
    """Every metric of one frontend, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        count, gauge, seconds = self._counter, self._gauge, self._histogram
        self.replies = count("http_responses", "Replies by route and status code.", "route", "code")
        self.outcomes = count("request_outcomes", "Speech requests that ended, for alerts.", "model", "outcome")
        self.requests = count("requests", "Speech requests that ended.", *_SPEECH, "outcome", "code")
        self.ttfa = seconds("time_to_first_audio_seconds", "From a request to its first audio.", *_SPEECH)
        self.duration = seconds("request_duration_seconds", "From a request to its last byte.", *_SPEECH)
        self.real_time = seconds("real_time_factor", "Time to all audio over its length.", "model", buckets=_REAL_TIME)
        self.queue_wait = seconds("queue_wait_seconds", "Waiting for a turn, by place.", "model", "place")
        self.audio_seconds = count("audio_seconds", "Audio made.", *_SPEECH)
        self.characters = count("input_characters", "Characters of texts that were spoken.", *_SPEECH)
        self.underruns = count("underruns", "Chunks that came later than their playback.", "model")
        self.guard_trips = count("guard_trips", "Utterances that the runaway guard cut.", "model", "reason")
        self.encoder_seconds = count("encoder_seconds", "Time in the encoder.", "format")
        self.pending = gauge("pending_requests", "Speech requests in the house.")
        self.active = gauge("active_requests", "Speech requests that have their turn.")
        self.waiting = gauge("waiting_requests", "Speech requests that wait for a turn.")
        self.connections = gauge("connections", "Connections of clients, by what they do.", "phase")
        self.closed_connections = count("connections_closed", "Connections closed by a bound.", "reason")
        self.body_bytes = gauge("request_body_bytes", "Bytes of request bodies that are held.")
        self.loads = count("model_loads", "Loads that ended.", "model", "outcome")
        self.load_seconds = seconds("model_load_seconds", "Time of a load.", "model")
        self.unloads = count("model_unloads", "Unloads that this frontend asked for.", "model")
        self.deaths = count("model_deaths", "Processes of models that died.", "model")
        self.states = gauge("model_state", "1 for the state that a model is in.", "model", "state")
        self.triton_up = gauge("triton_up", "1 where Triton answers.")

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"tts_{name}", what, labels, registry=self.registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"tts_{name}", what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, *labels: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
        return Histogram(f"tts_{name}", what, labels, buckets=buckets, registry=self.registry)

    def expose(self) -> bytes:
        """All of it as OpenMetrics text, exemplars included."""
        return bytes(generate_latest(self.registry))  # type: ignore[no-untyped-call]

    def prime(self, models: Iterable[str]) -> None:
        """Start the counters of these models at 0, so that the first event of each is an increase."""
        for model in models:
            self.deaths.labels(model)
            self.underruns.labels(model)
            for how in ("ok", "failed"):
                self.loads.labels(model, how)
            for outcome in Outcome:
                self.outcomes.labels(model, outcome)
            for reason in GUARD_REASONS:
                self.guard_trips.labels(model, reason)

    def set_states(self, states: Mapping[str, ModelState]) -> None:
        """The state of each model now; none where Triton does not answer."""
        self.triton_up.set(bool(states))
        self.states.clear()  # nobody knows what a Triton that is away has loaded
        self.prime(states)
        for model, now in states.items():
            for state in ModelState:
                self.states.labels(model, state).set(state is now)


def voice_kind(model: str, request: SpeechRequest) -> str:
    """Where a request's voice comes from: builtin, clone, blend, or design."""
    if request.ref_blend is not None:
        return "blend"
    if request.ref_audio is not None:
        return "clone"
    return "design" if model in MODELS and MODELS[model].task is Task.VOICE_DESIGN else "builtin"


class RequestRecord:
    """What becomes of one request; `close` counts it and writes the log's line. `clock` is a monotonic one."""

    def __init__(
        self,
        metrics: Metrics,
        model: str,
        request: SpeechRequest,
        audio_format: str,
        trace: Trace,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics, self._clock = metrics, clock
        self._model, self._format = model, audio_format
        self._kind, self._characters, self._id = voice_kind(model, request), len(request.text), request.request_id
        self.trace = trace
        self._begin_s = clock()
        self._first_s: float | None = None
        self._dry_at_s = 0.0
        self._audio_bytes = 0
        self._end: EndEvent | None = None
        self._outcome, self._code = Outcome.CANCELLED, ""
        self.encoder_s = 0.0

    def arrived(self, message: Message, asked_s: float) -> None:
        """A message that was asked for at `asked_s` is there. It is late where it was waited for after all before was
        played, and not where a slow client held it up."""
        now_s = self._clock()
        if isinstance(message.event, EndEvent):
            self._end = message.event
            return
        if self._first_s is None:
            self._first_s = self._dry_at_s = now_s
            self.trace.event("first audio")
        if now_s > self._dry_at_s + _GRACE_S:
            if now_s > asked_s + _GRACE_S:
                self._metrics.underruns.labels(self._model).inc()
            self._dry_at_s = now_s
        self._dry_at_s += len(message.pcm) / _BYTES_PER_SECOND
        self._audio_bytes += len(message.pcm)

    def ended(self) -> None:
        """All of it was handed over."""
        self._outcome = Outcome.OK

    def failed(self, error: Exception) -> None:
        """It ended in `error`."""
        known = from_speech_error(error) if isinstance(error, SpeechError) else error
        status, code = (known.status, known.code) if isinstance(known, ApiError) else (500, "internal_error")
        self._code = code
        if code in _REFUSED:
            self._outcome = Outcome.REFUSED
        else:
            self._outcome = Outcome.INVALID if status < 500 else Outcome.FAILED

    def close(self) -> None:
        """Count and log it. Once."""
        metrics, labels = self._metrics, (self._model, self._kind, self._format)
        took_s = self._clock() - self._begin_s
        audio_s = self._audio_bytes / _BYTES_PER_SECOND
        ttfa_s = None if self._first_s is None else self._first_s - self._begin_s
        metrics.requests.labels(*labels, self._outcome, self._code).inc()
        metrics.outcomes.labels(self._model, self._outcome).inc()
        metrics.encoder_seconds.labels(self._format).inc(self.encoder_s)
        if ttfa_s is not None:
            metrics.ttfa.labels(*labels).observe(ttfa_s, self._exemplar())
            metrics.audio_seconds.labels(*labels).inc(audio_s)
            metrics.characters.labels(*labels).inc(self._characters)
        if self._outcome is Outcome.OK and self._end is not None:
            metrics.duration.labels(*labels).observe(took_s, self._exemplar())
            metrics.real_time.labels(self._model).observe(took_s / audio_s if audio_s else 0.0)
            metrics.queue_wait.labels(self._model, "engine").observe(self._end.queue_s)
            if self._end.finish_reason in GUARD_REASONS:
                metrics.guard_trips.labels(self._model, self._end.finish_reason).inc()
        self._tell(took_s, audio_s, ttfa_s)

    def _exemplar(self) -> dict[str, str] | None:
        # An exemplar's labels are 128 characters at most.
        return {"request_id": self._id} if len(self._id) < 100 else None

    def _tell(self, took_s: float, audio_s: float, ttfa_s: float | None) -> None:
        fields: dict[str, str | int | float | None] = {
            "request_id": self._id,
            "model": self._model,
            "voice_kind": self._kind,
            "format": self._format,
            "characters": self._characters,
            "audio_s": round(audio_s, 3),
            "ttfa_s": None if ttfa_s is None else round(ttfa_s, 4),
            "took_s": round(took_s, 4),
            "rtf": round(took_s / audio_s, 4) if audio_s else None,
            "outcome": str(self._outcome),
            "code": self._code or None,
            "finish_reason": str(self._end.finish_reason) if self._end else None,
        }
        present = {name: value for name, value in fields.items() if value is not None}
        logger.info("spoken", extra={"fields": present})
        self.trace.end(present, failed=self._outcome is Outcome.FAILED)
