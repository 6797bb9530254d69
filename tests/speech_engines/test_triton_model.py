"""The adapter to Triton, with a strict fake of its Python API: every path ends with one event and one FINAL."""

import base64
import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from speech_engines.base import AudioSink, Capabilities, Engine
from speech_engines.stats import Publish
from speech_protocol.audio import MAX_CHUNK_SAMPLES
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import AudioEvent, EndEvent, ErrorEvent, Event, FinishReason, StartEvent, parse_event
from speech_protocol.models import Task
from speech_protocol.request import SpeechRequest
from tests.support import fake_pb_utils

WAIT_S = 10
END = EndEvent(FinishReason.STOP, 0, 0, 0.0, 0.0, 0.0)


@pytest.fixture
def triton_model(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`speech_engines.triton_model` over the fake."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", fake_pb_utils)
    monkeypatch.delitem(sys.modules, "speech_engines.triton_model", raising=False)
    module = importlib.import_module("speech_engines.triton_model")
    monkeypatch.delitem(sys.modules, "speech_engines.triton_model")
    return module


class ScriptedEngine:
    """Serves each request at once, in the caller's thread, with the given behaviour."""

    capabilities = Capabilities("scripted", "none", "cpu", Task.CUSTOM_VOICE, ("english",))

    def __init__(self, behaviour: Callable[[SpeechRequest, AudioSink], None]) -> None:
        self._behaviour = behaviour
        self.closed = False

    def submit(self, request: SpeechRequest, sink: AudioSink) -> None:
        self._behaviour(request, sink)

    def report_to(self, publish: Publish) -> None:
        pass

    def gpu_memory_bytes(self) -> int | None:
        return 5

    def close(self) -> None:
        self.closed = True


def serve(module: ModuleType, behaviour: Callable[[SpeechRequest, AudioSink], None], **values: Any) -> Any:
    """One request through a model over `behaviour`; its sender."""

    class Model(module.SpeechModel):  # type: ignore[misc,name-defined]
        @staticmethod
        def create_engine() -> Engine:
            return ScriptedEngine(behaviour)

    model = Model()
    model.initialize({"model_name": "scripted"})
    request = fake_pb_utils.InferenceRequest({"TEXT": "Hello.", **values})
    assert model.execute([request]) is None
    assert request.sender.finished.wait(WAIT_S)
    assert request.sender.finals == 1
    model.finalize()
    return request.sender


def events(sender: fake_pb_utils.ResponseSender) -> list[Event]:
    return [parse_event(response.output_tensors[0].as_numpy()[0].decode()) for response in sender.responses]


def audio(sender: fake_pb_utils.ResponseSender) -> bytes:
    return b"".join(base64.b64decode(response.output_tensors[1].as_numpy()[0]) for response in sender.responses)


def test_the_start_event_is_sent_before_the_engine_sees_the_request(triton_model: ModuleType) -> None:
    seen: list[SpeechRequest] = []

    def behaviour(request: SpeechRequest, sink: AudioSink) -> None:
        assert [type(event) for event in events(sink._sender)] == [StartEvent]  # type: ignore[attr-defined]
        seen.append(request)
        sink.end(END)

    sender = serve(triton_model, behaviour, SPEAKER="ryan", SEED=np.int64(4), X_VECTOR_ONLY=np.bool_(True))
    start, other = events(sender)[0], events(serve(triton_model, behaviour))[0]
    assert isinstance(start, StartEvent)
    assert replace(start, process="") == StartEvent(
        "scripted", "none", "cpu", 5, supports_instructions=False, languages=("english",)
    )
    assert start != other  # each load is another process
    assert seen[:1] == [SpeechRequest("Hello.", speaker="ryan", seed=4, x_vector_only=True, request_id="r1")]


def test_long_audio_is_sent_in_bounded_messages_and_clipped(triton_model: ModuleType) -> None:
    samples = np.full(MAX_CHUNK_SAMPLES * 2 + 10, 1.5, dtype=np.float32)

    def behaviour(_: SpeechRequest, sink: AudioSink) -> None:
        sink.audio(samples)
        sink.end(END)

    sender = serve(triton_model, behaviour)
    sizes = [event.samples for event in events(sender) if isinstance(event, AudioEvent)]
    assert sizes == [MAX_CHUNK_SAMPLES, MAX_CHUNK_SAMPLES, 10]
    np.testing.assert_array_equal(np.frombuffer(audio(sender), "<i2"), np.full(len(samples), 32767))


@pytest.mark.parametrize(
    "values", [{"TEXT": " "}, {"TEMPERATURE": np.float32(99)}, {"REF_AUDIO": "%"}, {"TEXT": b"\xff"}]
)
def test_a_request_that_cannot_be_read_ends_in_an_error_event(triton_model: ModuleType, values: dict[str, Any]) -> None:
    def behaviour(_: SpeechRequest, __: AudioSink) -> None:
        raise AssertionError("the engine must not see it")

    *_, last = events(serve(triton_model, behaviour, **values))
    assert isinstance(last, ErrorEvent)
    assert last.param == next(iter(values)).lower()


def test_a_refused_request_ends_in_the_engines_error(triton_model: ModuleType) -> None:
    def behaviour(_: SpeechRequest, __: AudioSink) -> None:
        raise SpeechError(ErrorCode.QUEUE_FULL, "full")

    assert events(serve(triton_model, behaviour))[-1] == ErrorEvent("queue_full", "full")


def test_a_bug_in_the_engine_ends_in_an_error_event_too(triton_model: ModuleType) -> None:
    def behaviour(_: SpeechRequest, __: AudioSink) -> None:
        raise ZeroDivisionError

    last = events(serve(triton_model, behaviour))[-1]
    assert isinstance(last, ErrorEvent)
    assert last.code == "engine_failure"


def test_nothing_is_sent_after_the_last_event(triton_model: ModuleType) -> None:
    def behaviour(_: SpeechRequest, sink: AudioSink) -> None:
        sink.end(END)
        sink.audio(np.zeros(5, np.float32))
        sink.error(SpeechError(ErrorCode.ENGINE_FAILURE, "late"))

    assert [type(event) for event in events(serve(triton_model, behaviour))] == [StartEvent, EndEvent]


def test_a_closed_response_sender_is_a_cancelled_request_not_an_exception(triton_model: ModuleType) -> None:
    answers: list[bool] = []

    def behaviour(_: SpeechRequest, sink: AudioSink) -> None:
        sink._sender.broken = True  # type: ignore[attr-defined]
        sink.audio(np.zeros(5, np.float32))
        answers.append(sink.is_cancelled())
        sink.end(END)

    serve(triton_model, behaviour)
    assert answers == [True]


def test_an_engine_that_cannot_be_built_fails_the_load_with_its_code(triton_model: ModuleType) -> None:
    class Model(triton_model.SpeechModel):  # type: ignore[misc,name-defined]
        @staticmethod
        def create_engine() -> Engine:
            raise SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, "Set MODEL_ID.")

    with pytest.raises(fake_pb_utils.TritonModelException, match=r"^\[checkpoint_unavailable\] Set MODEL_ID\.$"):
        Model().initialize({"model_name": "x"})


def test_events_survive_the_wire_and_newer_fields_are_ignored() -> None:
    text = json.dumps({**json.loads(END.to_json()), "invented_later": 1})
    assert parse_event(text) == END
    with pytest.raises(ValueError, match="not an event"):
        parse_event("{}")
