"""The record of one speech request: its metrics, its log line and the end of its trace."""

import logging
import time
from collections.abc import Callable
from typing import Final

from openai_frontend.errors import ApiError, from_speech_error
from openai_frontend.observability.metrics import Metrics, Outcome
from openai_frontend.observability.tracing import Trace
from speech_client.triton import Message
from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import GUARD_REASONS, EndEvent
from speech_protocol.models import MODELS, Task
from speech_protocol.request import SpeechRequest

logger = logging.getLogger("openai_frontend.requests")

_REFUSED: Final = {"server_overloaded", "queue_timeout", ErrorCode.QUEUE_FULL, ErrorCode.BUSY}
# A chunk that arrives this long after the end of the previous one's playback is an audible gap.
_GRACE_S: Final = 0.01
_BYTES_PER_SECOND: Final = SAMPLE_RATE_HZ * SAMPLE_BYTES


def voice_kind(model: str, request: SpeechRequest) -> str:
    """The source of a request's voice: builtin, clone, blend, or design."""
    if request.ref_blend is not None:
        return "blend"
    if request.ref_audio is not None:
        return "clone"
    return "design" if model in MODELS and MODELS[model].task is Task.VOICE_DESIGN else "builtin"


class RequestRecord:
    """The record of one request; `close` updates the metrics and writes the log line. `clock` is monotonic."""

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
        """A message requested at `asked_s` has arrived. It is late if it was awaited after all earlier audio had been
        played, but not if a slow client delayed the request for it."""
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
        """The complete reply has been handed over."""
        self._outcome = Outcome.OK

    def failed(self, error: Exception) -> None:
        """The request has failed with `error`."""
        known = from_speech_error(error) if isinstance(error, SpeechError) else error
        status, code = (known.status, known.code) if isinstance(known, ApiError) else (500, "internal_error")
        self._code = code
        if code in _REFUSED:
            self._outcome = Outcome.REFUSED
        else:
            self._outcome = Outcome.INVALID if status < 500 else Outcome.FAILED

    def close(self) -> None:
        """Count and log the request, once."""
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
        self._log(took_s, audio_s, ttfa_s)

    def _exemplar(self) -> dict[str, str] | None:
        # The labels of an exemplar have at most 128 characters.
        return {"request_id": self._id} if len(self._id) < 100 else None

    def _log(self, took_s: float, audio_s: float, ttfa_s: float | None) -> None:
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
        logger.info("speech request", extra={"fields": present})
        self.trace.end(present, failed=self._outcome is Outcome.FAILED)
