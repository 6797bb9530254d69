"""WorkerEngine over a scripted synthesizer: the order of requests, and the end of each."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from speech_engines.base import Capabilities
from speech_engines.faults import DeviceLostError, DeviceMemoryError
from speech_engines.worker import CancelledError, Chunks, Summary, WorkerEngine
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import FinishReason
from speech_protocol.models import Task
from speech_protocol.request import SpeechRequest
from tests.support.sinks import WAIT_S, CollectingSink

IsCancelled = Callable[[], bool]
Script = Callable[[IsCancelled], Chunks]
CAPABILITIES = Capabilities("scripted", "none", "cpu", Task.CUSTOM_VOICE, ("english",), max_audio_seconds=2.0)


@dataclass
class ScriptedSynthesizer:
    """Speaks by the script that the request's text names; keeps who spoke when."""

    scripts: dict[str, Script]
    spoken: list[str] = field(default_factory=list)
    closed: bool = False
    capabilities: Capabilities = CAPABILITIES

    def check(self, request: SpeechRequest) -> None:
        if request.text not in self.scripts:
            raise SpeechError(ErrorCode.INVALID_REQUEST, "No script of that name.", "text")

    def synthesize(self, request: SpeechRequest, is_cancelled: IsCancelled) -> Chunks:
        with contextlib.closing(self.scripts[request.text](is_cancelled)) as chunks:
            while True:
                try:
                    samples = next(chunks)
                except StopIteration as stop:
                    return stop.value
                self.spoken.append(request.text)
                yield samples

    def gpu_memory_bytes(self) -> int | None:
        return None

    def close(self) -> None:
        self.closed = True


@dataclass
class Gate:
    """A script that waits before its first chunk until it is opened, and reports when it gets there."""

    chunks: int = 1
    samples: int = 100
    reached: threading.Event = field(default_factory=threading.Event)
    open: threading.Event = field(default_factory=threading.Event)

    def __call__(self, is_cancelled: IsCancelled) -> Chunks:
        self.reached.set()
        assert self.open.wait(WAIT_S)
        return (yield from speak(self.chunks, self.samples)(is_cancelled))


def speak(chunks: int, samples: int = 100, tokens: int = 7) -> Script:
    def script(is_cancelled: IsCancelled) -> Chunks:
        for number in range(chunks):
            yield np.full(samples, number, np.float32)
        return Summary(tokens, warnings=("spoken",))

    return script


def fail(error: Exception) -> Script:
    def script(is_cancelled: IsCancelled) -> Chunks:
        yield np.zeros(100, np.float32)
        raise error

    return script


def until_cancelled(is_cancelled: IsCancelled) -> Chunks:
    """One endless chunk that polls for cancellation, as a synthesizer must."""
    pause = threading.Event()
    while not is_cancelled():
        pause.wait(0.001)
    raise CancelledError
    yield np.zeros(0, np.float32)


Start = Callable[..., tuple[WorkerEngine, ScriptedSynthesizer]]


@pytest.fixture
def start() -> Iterator[Start]:
    engines: list[WorkerEngine] = []

    def start(
        scripts: dict[str, Script], capabilities: Capabilities = CAPABILITIES, **bounds: int
    ) -> tuple[WorkerEngine, ScriptedSynthesizer]:
        synthesizer = ScriptedSynthesizer(scripts, capabilities=capabilities)
        engines.append(WorkerEngine(synthesizer, **bounds))
        return engines[-1], synthesizer

    yield start
    for engine in engines:
        engine.close()


def submit(engine: WorkerEngine, text: str, sink: CollectingSink | None = None, **fields: float) -> CollectingSink:
    sink = sink or CollectingSink()
    engine.submit(SpeechRequest(text, **fields), sink)
    return sink


def test_chunks_arrive_in_order_and_one_end_follows_with_the_synthesizers_summary(start: Start) -> None:
    engine, _ = start({"three": speak(3)})
    sink = submit(engine, "three")
    end = sink.result()
    assert [chunk[0] for chunk in sink.chunks] == [0, 1, 2]
    assert (end.finish_reason, end.audio_samples, end.text_tokens) == (FinishReason.STOP, 300, 7)
    assert end.warnings == ("spoken",)
    assert sink.endings == 1


def test_the_stream_with_the_least_buffered_audio_is_served_first_new_ones_included(start: Start) -> None:
    second_s = 24_000
    long = Gate(chunks=4, samples=second_s)
    capabilities = replace(CAPABILITIES, max_audio_seconds=60.0)
    scripts = {"long": long, "short": speak(2, second_s), "sentences": speak(2, 10 * second_s)}
    engine, synthesizer = start(scripts, capabilities, max_active=3)
    sinks = [submit(engine, "long")]
    assert long.reached.wait(WAIT_S)
    sinks += [submit(engine, "sentences"), submit(engine, "short")]
    long.open.set()
    for sink in sinks:
        sink.result()
    first, rest = synthesizer.spoken[:3], synthesizer.spoken[3:]
    assert first == ["long", "sentences", "short"]
    # Ten seconds of a sentence last longer than all the rest.
    assert rest == ["long", "short", "long", "long", "sentences"]


def test_a_disconnect_gives_the_slot_to_a_queued_request(start: Start) -> None:
    gate = Gate(samples=24_000)
    engine, _ = start({"first": gate, "next": speak(1)}, max_active=1)
    first = submit(engine, "first")
    assert gate.reached.wait(WAIT_S)
    waiting = submit(engine, "next")
    first.cancel()
    gate.open.set()
    assert waiting.result().finish_reason is FinishReason.STOP
    assert first.result().finish_reason is FinishReason.CANCELLED


def test_with_one_slot_requests_are_served_in_order_of_arrival(start: Start) -> None:
    first = Gate(chunks=2)
    engine, synthesizer = start({"a": first, "b": speak(2), "c": speak(1)}, max_active=1)
    sinks = [submit(engine, "a")]
    assert first.reached.wait(WAIT_S)
    sinks += [submit(engine, "b"), submit(engine, "c")]
    first.open.set()
    for sink in sinks:
        sink.result()
    assert synthesizer.spoken == ["a", "a", "b", "b", "c"]


def test_a_full_queue_refuses_a_request_and_never_calls_its_sink(start: Start) -> None:
    running = Gate()
    engine, _ = start({"running": running, "waiting": speak(1)}, max_queue=2, max_active=1)
    sinks = [submit(engine, "running")]
    assert running.reached.wait(WAIT_S)
    sinks += [submit(engine, "waiting"), submit(engine, "waiting")]
    refused = CollectingSink()
    with pytest.raises(SpeechError, match="queue is full \\(2 requests\\)") as error:
        submit(engine, "waiting", refused)
    assert error.value.code is ErrorCode.QUEUE_FULL
    running.open.set()
    for sink in sinks:
        sink.result()
    assert refused.endings == 0


def test_a_request_with_a_free_row_does_not_count_against_the_queue(start: Start) -> None:
    running = Gate()
    engine, _ = start({"running": running, "next": speak(1)}, max_queue=1, max_active=3)
    sinks = [submit(engine, "running")]
    assert running.reached.wait(WAIT_S)
    sinks += [submit(engine, "next") for _ in range(3)]  # two places, and one to wait
    with pytest.raises(SpeechError, match="queue is full"):
        submit(engine, "next")
    running.open.set()
    assert {sink.result().finish_reason for sink in sinks} == {FinishReason.STOP}


def test_queued_requests_of_disconnected_clients_free_their_slots(start: Start) -> None:
    running = Gate()
    engine, synthesizer = start({"running": running, "gone": speak(1), "new": speak(1)}, max_queue=1, max_active=1)
    first = submit(engine, "running")
    assert running.reached.wait(WAIT_S)
    gone = submit(engine, "gone")
    gone.cancel()
    new = submit(engine, "new")
    assert gone.result().finish_reason is FinishReason.CANCELLED
    running.open.set()
    first.result()
    assert new.result().audio_samples == 100
    assert synthesizer.spoken == ["running", "new"]
    assert gone.endings == 1


def test_a_disconnect_during_a_chunk_ends_the_request_as_cancelled(start: Start) -> None:
    engine, _ = start({"endless": until_cancelled, "next": speak(1)})
    sink = submit(engine, "endless", CollectingSink(cancel_at_question=5))
    assert sink.result().finish_reason is FinishReason.CANCELLED
    assert submit(engine, "next").result().audio_samples == 100


def test_a_disconnect_between_chunks_ends_the_request_and_closes_its_generator(start: Start) -> None:
    closed = threading.Event()

    def script(is_cancelled: IsCancelled) -> Chunks:
        try:
            return (yield from speak(1000)(is_cancelled))
        finally:
            closed.set()

    engine, _ = start({"endless": script})
    sink = submit(engine, "endless", CollectingSink(cancel_at_question=3))
    assert sink.result().finish_reason is FinishReason.CANCELLED
    assert len(sink.chunks) == 2
    assert closed.is_set()


def test_an_exception_in_one_request_fails_that_one_only(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    good = Gate(chunks=3)
    engine, _ = start({"good": good, "bad": fail(ZeroDivisionError("secret"))}, max_active=2)
    first = submit(engine, "good")
    assert good.reached.wait(WAIT_S)
    second = submit(engine, "bad")
    good.open.set()
    with pytest.raises(SpeechError, match="ZeroDivisionError") as error:
        second.result()
    assert error.value.code is ErrorCode.ENGINE_FAILURE
    assert "secret" not in error.value.message
    assert "secret" in caplog.text
    assert first.result().audio_samples == 300
    assert second.endings == 1


def test_an_error_with_a_code_reaches_the_sink_as_it_is(start: Start) -> None:
    engine, _ = start({"bad": fail(SpeechError(ErrorCode.OUT_OF_MEMORY, "Too long."))})
    failed = submit(engine, "bad").wait().failed
    assert failed is not None
    assert (failed.code, failed.message) == (ErrorCode.OUT_OF_MEMORY, "Too long.")


def test_what_the_synthesizer_refuses_is_refused_by_submit(start: Start) -> None:
    engine, _ = start({})
    sink = CollectingSink()
    with pytest.raises(SpeechError, match="No script of that name"):
        submit(engine, "unknown", sink)
    assert sink.endings == 0


def test_closing_fails_running_and_waiting_requests_with_shutting_down(start: Start) -> None:
    entered = threading.Event()

    def running(is_cancelled: IsCancelled) -> Chunks:
        entered.set()
        return (yield from until_cancelled(is_cancelled))

    engine, synthesizer = start({"running": running, "waiting": speak(1)}, max_active=1)
    sinks = [submit(engine, "running"), submit(engine, "waiting")]
    assert entered.wait(WAIT_S)
    engine.close()
    engine.close()
    assert [sink.wait().failed.code for sink in sinks if sink.wait().failed] == [ErrorCode.SHUTTING_DOWN] * 2
    assert [sink.endings for sink in sinks] == [1, 1]
    assert synthesizer.closed
    with pytest.raises(SpeechError) as error:
        submit(engine, "waiting")
    assert error.value.code is ErrorCode.SHUTTING_DOWN


@pytest.mark.parametrize(
    ("fields", "samples"), [({"max_audio_seconds": 0.1}, 2400), ({}, 48_000), ({"max_audio_seconds": 9.0}, 48_000)]
)
def test_an_utterance_is_cut_to_the_sample_at_the_shorter_of_the_requests_and_the_engines_cap(
    start: Start, fields: dict[str, float], samples: int
) -> None:
    engine, _ = start({"endless": speak(1000, samples=999)})
    sink = submit(engine, "endless", **fields)
    end = sink.result()
    assert end.finish_reason is FinishReason.LENGTH
    assert end.audio_samples == samples == len(sink.samples)


def test_an_utterance_that_ends_exactly_at_the_cap_keeps_its_own_summary(start: Start) -> None:
    engine, _ = start({"exact": speak(3, samples=800)})
    sink = submit(engine, "exact", max_audio_seconds=0.1)
    end = sink.result()
    assert (end.finish_reason, end.audio_samples, end.text_tokens) == (FinishReason.STOP, 2400, 7)


def test_one_sample_over_the_cap_is_cut_and_no_empty_chunk_is_sent(start: Start) -> None:
    engine, _ = start({"over": speak(25, samples=100)})
    sink = submit(engine, "over", max_audio_seconds=0.1)
    assert sink.result().finish_reason is FinishReason.LENGTH
    assert len(sink.samples) == 2400
    assert all(len(chunk) for chunk in sink.chunks)


def test_a_lost_device_ends_the_process_and_every_request_with_the_code_that_is_retried() -> None:
    ended, go = threading.Event(), threading.Event()

    def lost(is_cancelled: IsCancelled) -> Chunks:
        assert go.wait(WAIT_S)
        yield from fail(DeviceLostError("illegal access"))(is_cancelled)
        return Summary(0)

    engine = WorkerEngine(ScriptedSynthesizer({"lost": lost, "other": speak(3)}), end=ended.set)
    try:
        sinks = [submit(engine, "lost"), submit(engine, "other")]
        go.set()
        codes = [sink.wait().failed.code for sink in sinks if sink.wait().failed]
        assert codes == [ErrorCode.MODEL_DIED] * 2
        assert ended.wait(WAIT_S)
    finally:
        engine.close()


def test_a_request_without_memory_fails_alone(start: Start) -> None:
    engine, _ = start({"large": fail(DeviceMemoryError("CUDA out of memory")), "small": speak(1)})
    failed = submit(engine, "large").wait().failed
    assert failed is not None
    assert failed.code is ErrorCode.OUT_OF_MEMORY
    assert submit(engine, "small").result().finish_reason is FinishReason.STOP
