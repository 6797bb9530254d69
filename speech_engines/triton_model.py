"""The Triton side of every speech model: tensors to a SpeechRequest, an engine's audio to response messages.

Besides `triton_batch.py`, the only user of Triton's Python API. `execute` passes each request to the engine's worker
thread and returns immediately, so one instance serves many requests; a request's response sender is in its sink.
"""

import base64
import json
import logging
import math
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from speech_engines.base import AppendingEngine, Engine, Samples
from speech_engines.stats import FAMILIES
from speech_protocol.audio import MAX_CHUNK_SAMPLES
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import AudioEvent, EndEvent, ErrorEvent, Event, FinishReason, StartEvent, Word
from speech_protocol.request import SpeechRequest
from speech_protocol.tensors import INPUTS

logger = logging.getLogger(__name__)


class SpeechModel:
    """A decoupled model over one engine; `1/model.py` of each model subclasses it and names the engine."""

    create_engine: Callable[[], Engine]

    def initialize(self, args: dict[str, str]) -> None:
        """Load the engine; Triton reports the model READY when this returns. Raises TritonModelException."""
        logging.basicConfig(level=logging.INFO, format=f"{args['model_name']}: %(message)s")
        self._process = secrets.token_hex(8)
        self._in_flight = _Count()
        try:
            self._engine = type(self).create_engine()
        except SpeechError as error:
            # One line with a stable code instead of a traceback: Triton passes on only this text.
            raise pb_utils.TritonModelException(error.to_text()) from None
        self._engine.report_to(TritonStats(args["model_name"]).publish)

    def execute(self, requests: list[Any]) -> None:
        """Queue each request; responses are sent from the worker thread."""
        for request in requests:
            self._accept(request)

    def finalize(self) -> None:
        """Stop the worker; Triton calls this when the model is unloaded and no response is outstanding."""
        self._engine.close()

    def _accept(self, request: Any) -> None:
        others = self._in_flight.value
        self._in_flight.add(1)
        sink = TritonSink(request.get_response_sender(), lambda: self._in_flight.add(-1))
        try:
            # Sent first: Triton reports a disconnect only after a first response.
            sink.start(self._start_event(others))
            self._take(read_request(request), sink)
        except SpeechError as error:
            sink.error(error)
        except Exception as error:
            # Without FINAL the client would wait forever, so even unexpected exceptions are handled.
            logger.exception("request %s was not accepted", request.request_id())
            sink.error(
                SpeechError(ErrorCode.ENGINE_FAILURE, f"The model failed ({type(error).__name__}). Its log says why.")
            )

    def _take(self, request: SpeechRequest, sink: "TritonSink") -> None:
        if request.stream_action is not None and not isinstance(self._engine, AppendingEngine):
            message = f"{self._engine.capabilities.engine} takes a whole text at once. Send it without stream_id."
            raise SpeechError(ErrorCode.UNSUPPORTED_TASK, message, "stream_id")
        if request.is_addition and isinstance(self._engine, AppendingEngine):
            tokens = self._engine.append(request)
            sink.end(EndEvent(FinishReason.STOP, 0, tokens, 0.0, 0.0, 0.0))
        else:
            self._engine.submit(request, sink)

    def _start_event(self, others: int) -> StartEvent:
        what = self._engine.capabilities
        return StartEvent(
            what.engine,
            what.checkpoint,
            what.device,
            self._engine.gpu_memory_bytes(),
            what.supports_instructions,
            self._process,
            others,
            what.languages,
            what.speakers,
            what.notes,
        )


class _Count:
    """A counter for several threads."""

    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()

    def add(self, change: int) -> None:
        with self._lock:
            self.value += change


class TritonStats:
    """An engine's statistics as Triton metrics. For one thread: concurrent reports crash the whole server."""

    def __init__(self, model: str) -> None:
        self._labels = {"model": model}
        self._metrics: dict[str, Any] = {}
        self._last: dict[str, float] = {}

    def publish(self, stats: Mapping[str, float]) -> None:
        """Set each gauge, and increase each counter to its new value."""
        for name, value in stats.items():
            metric = self._metrics.get(name) or self._make(name)
            if not FAMILIES[name][1]:
                metric.set(value)
            elif grown := value - self._last.get(name, 0.0):
                metric.increment(grown)
            self._last[name] = value

    def _make(self, name: str) -> Any:
        what, grows = FAMILIES[name]
        kind = pb_utils.MetricFamily.COUNTER if grows else pb_utils.MetricFamily.GAUGE
        family = pb_utils.MetricFamily(name=name, description=what, kind=kind)
        self._metrics[name] = metric = family.Metric(labels=self._labels)
        _FAMILIES_IN_USE.append(family)
        return metric


# Kept until the process ends: freeing a metric from another thread crashes the server.
_FAMILIES_IN_USE: list[Any] = []


def read_request(request: Any) -> SpeechRequest:
    """The SpeechRequest in a Triton request. Raises SpeechError that names the invalid tensor."""
    values = {spec.name: _read_scalar(request, spec.name, spec.data_type) for spec in INPUTS}
    present = {name: value for name, value in values.items() if value is not None}
    return SpeechRequest.from_tensors(present, request.request_id(), _traceparent(request))


def _traceparent(request: Any) -> str:
    """The request's trace; parameters are JSON."""
    try:
        return str(json.loads(request.parameters()).get("traceparent", ""))
    except (ValueError, TypeError, AttributeError):
        return ""


def _read_scalar(request: Any, name: str, data_type: str) -> Any:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        return None
    value = tensor.as_numpy().reshape(-1)[0]
    if data_type != "STRING":
        return value.item()
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpeechError(ErrorCode.INVALID_REQUEST, f"{name} is not UTF-8. Send it in UTF-8.", name.lower()) from error


class TritonSink:
    """One request's response sender as an AudioSink. FINAL is sent exactly once, with the last event; `on_finish` is
    called then."""

    def __init__(self, sender: Any, on_finish: Callable[[], None] = lambda: None) -> None:
        self._sender = sender
        self._on_finish = on_finish
        self._lock = threading.Lock()
        self._finished = False
        self._gone = False

    def start(self, event: StartEvent) -> None:
        self._send(event)

    def audio(self, samples: Samples, words: Sequence[Word] = ()) -> None:
        for begin in range(0, max(1, len(samples)), MAX_CHUNK_SAMPLES):
            chunk = samples[begin : begin + MAX_CHUNK_SAMPLES]
            end = begin + len(chunk) if begin + len(chunk) < len(samples) else math.inf  # words without audio, too
            own = (word for word in words if begin <= word.start < end)
            moved = tuple(Word(word.text, word.start - begin, word.end - begin) for word in own)
            self._send(AudioEvent(len(chunk), moved), base64.b64encode(to_pcm(chunk)))

    def end(self, event: EndEvent) -> None:
        self._send(event, final=True)

    def error(self, error: SpeechError) -> None:
        self._send(ErrorEvent.from_error(error), final=True)

    def is_cancelled(self) -> bool:
        return self._gone or bool(self._sender.is_cancelled())

    def _send(self, event: Event, audio: bytes = b"", *, final: bool = False) -> None:
        with self._lock:
            if self._finished:
                return
            self._finished = final
            if final:
                self._on_finish()
            tensors = [_string_tensor("EVENT", event.to_json().encode()), _string_tensor("AUDIO", audio)]
            flags = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if final else 0
            try:
                self._sender.send(pb_utils.InferenceResponse(output_tensors=tensors), flags=flags)
            except Exception:
                # The request has ended on the server's side; the engine learns it from the next `is_cancelled`. No
                # exception may escape: the calling thread serves all requests.
                logger.exception("a response could not be sent")
                self._gone = True


def to_pcm(samples: Samples) -> bytes:
    """[T] float32 in -1 to 1, clipped, as PCM bytes."""
    scaled = np.clip(np.asarray(samples, dtype=np.float32), -1.0, 1.0) * 32767.0
    return bytes(np.rint(scaled).astype("<i2").tobytes())


def _string_tensor(name: str, value: bytes) -> Any:
    return pb_utils.Tensor(name, np.array([value], dtype=np.object_))
