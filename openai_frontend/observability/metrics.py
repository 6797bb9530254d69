"""Prometheus metrics of the frontend.

Labels are bounded: models by the repository, formats and outcomes by this code. They never contain request text.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.openmetrics.exposition import generate_latest

from speech_client.triton import ModelState
from speech_protocol.events import GUARD_REASONS

CONTENT_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_SPEECH: Final = ("model", "voice_kind", "format")
_SECONDS: Final = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 120, 300)
_REAL_TIME: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.75, 1, 1.5, 2, 5)


class Outcome(StrEnum):
    """The outcome of a request: completed, invalid, refused for lack of capacity, failed in the server, or disconnected
    by its client."""

    OK = "ok"
    INVALID = "invalid"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Metrics:
    """Every metric of one frontend, in its own registry."""

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
        self.queue_wait = seconds("queue_wait_seconds", "Time in a queue, by queue.", "model", "place")
        self.audio_seconds = count("audio_seconds", "Seconds of audio generated.", *_SPEECH)
        self.characters = count("input_characters", "Characters of input that were synthesized.", *_SPEECH)
        self.underruns = count("underruns", "Chunks that arrived after their playback was due.", "model")
        self.guard_trips = count("guard_trips", "Utterances cut by the runaway guard.", "model", "reason")
        self.encoder_seconds = count("encoder_seconds", "Time in the encoder.", "format")
        self.pending = gauge("pending_requests", "Speech requests in flight, queued ones included.")
        self.active = gauge("active_requests", "Speech requests that are being synthesized.")
        self.waiting = gauge("waiting_requests", "Speech requests that are queued.")
        self.connections = gauge("connections", "Connections by phase.", "phase")
        self.closed_connections = count("connections_closed", "Connections closed by a limit.", "reason")
        self.body_bytes = gauge("request_body_bytes", "Memory of request bodies, in bytes.")
        self.loads = count("model_loads", "Loads that ended.", "model", "outcome")
        self.load_seconds = seconds("model_load_seconds", "Time of a load.", "model")
        self.unloads = count("model_unloads", "Unloads by this frontend.", "model")
        self.deaths = count("model_deaths", "Crashes of model processes.", "model")
        self.states = gauge("model_state", "1 for the state that a model is in.", "model", "state")
        self.triton_up = gauge("triton_up", "1 if Triton answers.")

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"tts_{name}", what, labels, registry=self.registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"tts_{name}", what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, *labels: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
        return Histogram(f"tts_{name}", what, labels, buckets=buckets, registry=self.registry)

    def expose(self) -> bytes:
        """All metrics as OpenMetrics text, with exemplars."""
        return bytes(generate_latest(self.registry))  # type: ignore[no-untyped-call]

    def prime(self, models: Iterable[str]) -> None:
        """Start the counters of these models at 0, so that their first event is an increase."""
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
        """Set the current state of each model; no states if Triton does not answer."""
        self.triton_up.set(bool(states))
        self.states.clear()  # the states are unknown while Triton is unreachable
        self.prime(states)
        for model, now in states.items():
            for state in ModelState:
                self.states.labels(model, state).set(state is now)
