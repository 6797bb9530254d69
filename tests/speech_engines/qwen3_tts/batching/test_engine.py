"""Continuous batching without tensors: a scripted model runner, every order of arrival and departure, every failure."""

import threading
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Codes
from contextlib import contextmanager
from unittest.mock import Mock

import numpy as np
import pytest

from speech_engines.base import Capabilities, Samples
from speech_engines.faults import DeviceLostError, DeviceMemoryError
from speech_engines.qwen3_tts.batching.engine import BatchEngine
from speech_engines.qwen3_tts.batching.sequence import Plan
from speech_engines.qwen3_tts.model.cache_ranges import CacheRange
from speech_engines.qwen3_tts.prompt.tokens import PromptTokens
from speech_engines.stats import FAMILIES
from speech_engines.watchdog import Watchdog
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import FinishReason
from speech_protocol.models import Task
from speech_protocol.request import SpeechRequest
from tests.support.sinks import CollectingSink
from tests.support.waiting import eventually

CAPABILITIES = Capabilities("fake", "none", "cpu", Task.CUSTOM_VOICE, ("english",), max_audio_seconds=10_000)
RAMP = (1, 2, 4)
TOKENS, PROMPT, PIECE = 50_000, 30, 10  # PROMPT: three pieces


class FakeModelRunner:
    """Generates `N` frames for a text `NAME N`; frame f of NAME has the samples hash(NAME) + f. Records its calls.

    `hold` blocks every step until it is released; failures happen in the named call for the named request.
    """

    def __init__(
        self, slots: int = 4, cache_positions: int = 1_000_000, unknown_voices: bool = False, tokens: int = TOKENS
    ) -> None:
        self.slots, self.cache_positions = slots, cache_positions
        self._tokens = tokens
        self.step_errors: list[Exception] = []
        # By call: there is no memory for more rows than these, once.
        self.no_memory: dict[str, int] = {}
        self.hold_once_paused = False
        self._prepared: set[str] | None = set() if unknown_voices else None
        self.may_prepare = threading.Event()
        self.fail_prepare: str | None = None
        self.calls: list[tuple[str, object]] = []
        self.piece_cost = 1.0
        self.fail_prefill: str | None = None
        self.fail_step = threading.Event()
        self.go = threading.Event()
        self.go.set()
        self.stepping = threading.Event()
        self.closed = False
        self._cache_ranges: dict[int, CacheRange] = {}
        self._unread: dict[int, int] = {}
        self._names: dict[int, tuple[str, int]] = {}
        self._frames: dict[int, int] = {}
        self._decoded: dict[int, int] = {}

    def plan(self, request: SpeechRequest) -> Plan:
        if request.text == "refused":
            raise SpeechError(ErrorCode.UNKNOWN_SPEAKER, "no")
        # Enough tokens that no budget of frames ends an utterance here.
        script = PromptTokens((0,) * PROMPT, (), 0, (), 0, self._tokens)
        return Plan(script, warnings=("a warning",) if request.instruct else ())

    def is_prepared(self, request: SpeechRequest, plan: Plan) -> bool:
        return self._prepared is None or request.text in self._prepared

    def prepare(self, request: SpeechRequest, plan: Plan) -> None:
        assert self._prepared is not None
        assert self.may_prepare.wait(30)
        if request.text.split()[0] == self.fail_prepare:
            raise SpeechError(ErrorCode.INVALID_REFERENCE_AUDIO, "no voice", "ref_audio")
        self._prepared.add(request.text)

    def begin(self, slot: int, cache_range: CacheRange, request: SpeechRequest, plan: Plan) -> None:
        assert slot not in self._names, "a slot was given away twice"
        self._place(slot, cache_range)
        assert self.is_prepared(request, plan)
        name, frames = request.text.split()
        self._unread[slot] = PROMPT // PIECE
        self._names[slot] = (name, int(frames))
        self._frames[slot] = self._decoded[slot] = 0

    def prefill_cost(self, slot: int) -> float:
        return self.piece_cost

    def prefill(self, slot: int) -> bool:
        name, _ = self._names[slot]
        self.calls.append(("prefill", name))
        if name == self.fail_prefill:
            raise RuntimeError("prefill")
        self._unread[slot] -= 1
        return not self._unread[slot]

    def step(self, slots: Codes[int]) -> tuple[list[list[int]], list[bool]]:
        self.stepping.set()
        assert self.go.wait(30)
        self.calls.append(("step", tuple(self._names[slot][0] for slot in slots)))
        if self.step_errors:
            raise self.step_errors.pop(0)
        self._check_memory("step", slots)
        if self.fail_step.is_set():
            self.fail_step.clear()
            raise RuntimeError("step")
        codes, ended = [], []
        for slot in slots:
            _, frames = self._names[slot]
            ended.append(self._frames[slot] == frames)
            self._frames[slot] += not ended[-1]
            codes.append([self._frames[slot]] * 16)
        return codes, ended

    def decode(self, slots: Codes[int], frames: int) -> list[Samples]:
        self._check_memory("decode", slots)
        self.calls.append(("decode", (frames, len(slots))))
        chunks = []
        for slot in slots:
            first = self._decoded[slot]
            assert first + frames <= self._frames[slot], "decoded frames that were never made"
            self._decoded[slot] += frames
            chunks.append(np.concatenate([samples_of(self._names[slot][0], f) for f in range(first, first + frames)]))
        return chunks

    def release(self, slot: int) -> None:
        self._names.pop(slot, None)
        self._cache_ranges.pop(slot, None)

    def gpu_memory_bytes(self) -> int | None:
        return None

    def move(self, slot: int, cache_range: CacheRange) -> None:
        self._place(slot, cache_range)

    def pause(self, slot: int) -> None:
        self.calls.append(("pause", self._names[slot][0]))
        if self.hold_once_paused:
            self.go.clear()
        del self._cache_ranges[slot]

    def resume(self, slot: int, cache_range: CacheRange) -> None:
        self.calls.append(("resume", self._names[slot][0]))
        self._place(slot, cache_range)

    def _check_memory(self, call: str, slots: Codes[int]) -> None:
        if len(slots) > self.no_memory.get(call, len(slots)):
            del self.no_memory[call]
            raise DeviceMemoryError("CUDA out of memory")

    def free_memory(self) -> None:
        self.calls.append(("free memory", None))

    def stats(self) -> dict[str, float]:
        return {
            "tts_engine_voice_prompts_found_total": 3,
            "tts_engine_voice_prompts_made_total": 2,
            "tts_engine_unused_graphs": 0,
        }

    def _place(self, slot: int, cache_range: CacheRange) -> None:
        others = [other for number, other in self._cache_ranges.items() if number != slot]
        assert all(cache_range.stop <= other.start or other.stop <= cache_range.start for other in others)
        self._cache_ranges[slot] = cache_range

    def close(self) -> None:
        self.closed = True


def samples_of(name: str, frame: int) -> Samples:
    return np.full(FRAME_SAMPLES, 0.5 + hash(name) % 997 / 10_000 + frame / 1e6, np.float32)


def expected(name: str, frames: int) -> Samples:
    return np.concatenate([samples_of(name, frame) for frame in range(frames)])


@contextmanager
def engine(
    device: FakeModelRunner, max_queue: int = 16, end: Callable[[], None] = lambda: None
) -> Iterator[BatchEngine]:
    running = BatchEngine(device, CAPABILITIES, max_queue, RAMP, end=end)
    try:
        yield running
    finally:
        device.go.set()
        running.close()
        assert device.closed or running._lost


def submit(running: BatchEngine, text: str, **fields: object) -> CollectingSink:
    sink = CollectingSink()
    running.submit(SpeechRequest(text, **fields), sink)  # type: ignore[arg-type]
    return sink


def test_more_requests_than_slots_each_get_their_own_whole_utterance() -> None:
    with engine(FakeModelRunner(slots=3)) as running:
        lengths = {f"r{number}": 1 + number * 3 % 17 for number in range(12)}
        sinks = {name: submit(running, f"{name} {frames}") for name, frames in lengths.items()}
        for name, sink in sinks.items():
            assert sink.result().finish_reason is FinishReason.STOP
            np.testing.assert_array_equal(sink.samples, expected(name, lengths[name]))
            assert sink.endings == 1


def test_chunks_follow_the_ramp_and_the_rest_comes_with_the_end() -> None:
    device = FakeModelRunner()
    with engine(device) as running:
        sink = submit(running, "a 13")
        sink.result()
    assert [len(chunk) // FRAME_SAMPLES for chunk in sink.chunks] == [1, 2, 4, 4, 2]


def test_a_late_one_joins_the_running_batch_and_costs_it_a_piece_of_a_prompt_a_frame() -> None:
    device = FakeModelRunner()
    device.go.clear()
    with engine(device) as running:
        first = submit(running, "first 20")
        assert device.stepping.wait(30)
        others = [submit(running, f"late{number} 20") for number in range(2)]
        device.go.set()
        for sink in (first, *others):
            sink.result()
    kinds = [kind for kind, _ in device.calls if kind != "decode"]
    assert "prefill prefill" not in " ".join(kinds[kinds.index("step") :])
    assert kinds.count("prefill") == 3 * PROMPT // PIECE
    assert ("step", ("first", "late0", "late1")) in device.calls


def test_of_a_burst_as_many_prompts_are_read_before_each_frame_as_take_no_longer_than_a_step() -> None:
    device = FakeModelRunner(slots=7)
    device.piece_cost = 1 / 16  # a prompt is three pieces: a step takes as long as five prompts and a piece
    device.go.clear()
    with engine(device) as running:
        first = submit(running, "first 20")
        assert device.stepping.wait(30)
        others = [submit(running, f"late{number} 20") for number in range(6)]
        device.go.set()
        for sink in (first, *others):
            sink.result()
    rows = [names for kind, names in device.calls if kind == "step"]
    names = ("first", *(f"late{number}" for number in range(6)))
    assert rows[:3] == [names[:1], names[:6], names]


def test_a_disconnected_request_leaves_the_batch_at_the_next_step_and_its_slot_is_reused() -> None:
    device = FakeModelRunner(slots=1)
    with engine(device) as running:
        endless = submit(running, "endless 9999")
        assert device.stepping.wait(30)
        endless.cancel()
        assert endless.result().finish_reason is FinishReason.CANCELLED
        np.testing.assert_array_equal(submit_and_wait(running, "next 3"), expected("next", 3))


def submit_and_wait(running: BatchEngine, text: str) -> Samples:
    sink = submit(running, text)
    sink.result()
    return sink.samples


def test_a_full_queue_refuses_but_drops_cancelled_requests_first() -> None:
    device = FakeModelRunner(slots=1)
    device.go.clear()
    with engine(device, max_queue=2) as running:
        submit(running, "running 3")
        assert device.stepping.wait(30)
        gone, waiting = submit(running, "gone 3"), submit(running, "waiting 3")
        with pytest.raises(SpeechError) as error:
            submit(running, "refused-one 3")
        assert error.value.code is ErrorCode.QUEUE_FULL
        gone.cancel()
        late = submit(running, "late 3")
        assert gone.result().finish_reason is FinishReason.CANCELLED
        device.go.set()
        for sink in (waiting, late):
            assert sink.result().finish_reason is FinishReason.STOP
    assert ("prefill", "gone") not in device.calls


def test_a_failing_prefill_fails_its_request_only() -> None:
    device = FakeModelRunner()
    device.fail_prefill = "bad"
    with engine(device) as running:
        good, bad = submit(running, "good 9"), submit(running, "bad 9")
        with pytest.raises(SpeechError) as error:
            bad.result()
        assert error.value.code is ErrorCode.ENGINE_FAILURE
        assert good.result().finish_reason is FinishReason.STOP
        np.testing.assert_array_equal(good.samples, expected("good", 9))


def test_a_failing_step_fails_the_rows_in_it_and_the_engine_serves_on() -> None:
    device = FakeModelRunner(slots=2)
    device.go.clear()
    with engine(device) as running:
        rows = [submit(running, "a 50")]
        assert device.stepping.wait(30)
        waiting = [submit(running, f"w{number} 5") for number in range(3)]
        device.fail_step.set()
        device.go.set()
        for sink in rows:
            with pytest.raises(SpeechError):
                sink.result()
        for number, sink in enumerate(waiting):
            sink.result()
            np.testing.assert_array_equal(sink.samples, expected(f"w{number}", 5))
        assert all(sink.endings == 1 for sink in (*rows, *waiting))


def test_what_the_device_refuses_is_refused_at_once_and_what_it_warns_of_is_in_the_end_event() -> None:
    with engine(FakeModelRunner()) as running:
        with pytest.raises(SpeechError) as error:
            submit(running, "refused")
        assert error.value.code is ErrorCode.UNKNOWN_SPEAKER
        assert submit(running, "a 1", instruct="x").result().warnings == ("a warning",)


def test_the_length_cap_is_exact_to_the_sample() -> None:
    with engine(FakeModelRunner()) as running:
        sink = submit(running, "a 50", max_audio_seconds=0.5)
        assert sink.result().finish_reason is FinishReason.LENGTH
        assert len(sink.samples) == SAMPLE_RATE_HZ // 2


def test_a_request_that_can_never_fit_into_the_caches_is_refused() -> None:
    with engine(FakeModelRunner(cache_positions=PROMPT + 6)) as running:
        with pytest.raises(SpeechError) as error:
            submit(running, "a 50", max_audio_seconds=0.56)  # seven frames
        assert error.value.param == "text"
        assert submit(running, "a 50", max_audio_seconds=0.48).result().finish_reason is FinishReason.LENGTH


def test_computing_a_voice_delays_no_other_request_and_its_failure_fails_its_own_request_only() -> None:
    device = FakeModelRunner(unknown_voices=True)
    device.fail_prepare = "bad"
    with engine(device) as running:
        bad, new, gone = (submit(running, f"{name} 4") for name in ("bad", "new", "gone"))
        device._prepared = {"known 5"}
        assert submit(running, "known 5").result().finish_reason is FinishReason.STOP
        gone.cancel()
        assert gone.result().finish_reason is FinishReason.CANCELLED
        assert not new.endings
        device.may_prepare.set()
        assert new.result().finish_reason is FinishReason.STOP
        with pytest.raises(SpeechError) as error:
            bad.result()
        assert error.value.param == "ref_audio"
    assert ("prefill", "gone") not in device.calls


def test_closing_fails_the_running_and_the_waiting() -> None:
    device = FakeModelRunner(slots=1)
    with engine(device) as running:
        sinks = [submit(running, f"r{number} 99999") for number in range(3)]
        assert device.stepping.wait(30)
        running.close()
        for sink in sinks:
            with pytest.raises(SpeechError) as error:
                sink.result()
            assert error.value.code is ErrorCode.SHUTTING_DOWN
        with pytest.raises(SpeechError):
            submit(running, "late 1")


def test_a_repeating_utterance_ends_with_the_reason() -> None:
    class Stuck(FakeModelRunner):
        def step(self, slots: Codes[int]) -> tuple[list[list[int]], list[bool]]:
            codes, ended = super().step(slots)
            return [[1] * 16 for _ in codes], ended

    with engine(Stuck()) as running:
        sink = submit(running, "a 999")
        assert sink.result().finish_reason is FinishReason.REPETITION
        assert len(sink.samples) == 27 * FRAME_SAMPLES  # the first chunk that completes a window


def test_a_step_that_never_returns_is_reported_to_the_watchdog() -> None:
    device, barked = FakeModelRunner(), threading.Event()
    device.go.clear()
    running = BatchEngine(device, CAPABILITIES, 16, RAMP, Watchdog(0.05, barked.set))
    running.submit(SpeechRequest("held 3"), CollectingSink())
    assert device.stepping.wait(30)
    assert barked.wait(30)
    device.go.set()
    running.close()


def test_many_short_steps_and_an_idle_engine_are_no_concern_of_the_watchdog() -> None:
    device, barked = FakeModelRunner(), threading.Event()
    running = BatchEngine(device, CAPABILITIES, 16, RAMP, Watchdog(20, barked.set))
    sink = CollectingSink()
    running.submit(SpeechRequest("short 300"), sink)
    sink.wait()
    running.close()
    assert not barked.is_set()


def test_its_figures_say_what_the_batch_does() -> None:
    published: list[Mapping[str, float]] = []
    with engine(FakeModelRunner(slots=3)) as running:
        running.report_to(published.append)
        for sink in [submit(running, f"r{number} 5") for number in range(2)]:
            sink.result()
        eventually(lambda: published and not published[-1]["tts_engine_active_rows"], "it says that it is idle")
    last = published[-1]
    assert last["tts_engine_rows"] == 3
    # A step that finds the end of a row counts it, too.
    assert last["tts_engine_frames_total"] == 2 * (5 + 1)
    assert 6 <= last["tts_engine_steps_total"] <= 12
    assert last["tts_engine_cache_positions"] > 0
    assert last["tts_engine_cache_positions_used"] == 0
    assert (last["tts_engine_voice_prompts_found_total"], last["tts_engine_voice_prompts_made_total"]) == (3, 2)
    assert set(last) == set(FAMILIES)


# A device that fails


def test_a_lost_device_ends_the_process_and_every_request_with_the_code_that_is_retried() -> None:
    ended = threading.Event()
    device = FakeModelRunner(slots=2)
    device.go.clear()
    with engine(device, end=ended.set) as running:
        sinks = [submit(running, f"r{number} 50") for number in range(3)]  # one waits
        assert device.stepping.wait(30)
        device.step_errors.append(DeviceLostError("an illegal memory access was encountered"))
        device.go.set()
        for sink in sinks:
            failed = sink.wait().failed
            assert failed is not None
            assert failed.code is ErrorCode.MODEL_DIED
            assert sink.endings == 1
        assert ended.wait(30)
        with pytest.raises(SpeechError) as error:
            submit(running, "late 5")
        assert error.value.code is ErrorCode.SHUTTING_DOWN
    assert device.calls.count(("step", ("r0", "r1"))) <= 1


def test_a_device_that_is_lost_while_a_voice_is_computed_ends_the_process() -> None:
    ended = threading.Event()
    device = FakeModelRunner(unknown_voices=True)
    device.prepare = Mock(side_effect=DeviceLostError("gone"))  # type: ignore[method-assign]
    with engine(device, end=ended.set) as running:
        failed = submit(running, "r 5").wait().failed
        assert failed is not None
        assert failed.code is ErrorCode.MODEL_DIED
        assert ended.wait(30)


@pytest.mark.parametrize(("call", "rows"), [("step", 2), ("decode", 1)])
def test_without_memory_the_youngest_fails_and_the_others_get_their_whole_audio(call: str, rows: int) -> None:
    device = FakeModelRunner(slots=3)
    device.piece_cost = 0.1
    device.go.clear()
    with engine(device) as running:
        sinks = {"oldest": submit(running, "oldest 20")}
        assert device.stepping.wait(30)
        device.no_memory[call] = rows
        sinks |= {name: submit(running, f"{name} 20") for name in ("older", "young")}
        device.go.set()
        failed = sinks["young"].wait().failed
        assert failed is not None
        assert failed.code is ErrorCode.OUT_OF_MEMORY
        for name in ("oldest", "older"):
            np.testing.assert_array_equal(sinks[name].wait().samples, expected(name, 20))
    assert device.calls.count(("free memory", None)) == 1


def test_a_request_alone_without_memory_fails_and_the_next_is_served() -> None:
    device = FakeModelRunner()
    device.no_memory["step"] = 0
    with engine(device) as running:
        failed = submit(running, "a 5").wait().failed
        assert failed is not None
        assert failed.code is ErrorCode.OUT_OF_MEMORY
        np.testing.assert_array_equal(submit(running, "b 5").wait().samples, expected("b", 5))


# Places


def test_if_cache_positions_run_out_the_youngest_pauses_and_every_request_gets_its_whole_audio() -> None:
    # Each is expected to take 65 positions and takes 630: the budget of 20 tokens.
    device = FakeModelRunner(slots=4, cache_positions=900, tokens=20)
    lengths = {f"r{number}": 590 - number for number in range(4)}
    with engine(device) as running:
        sinks = {name: submit(running, f"{name} {frames}") for name, frames in lengths.items()}
        for name, sink in sinks.items():
            assert sink.result().finish_reason is FinishReason.STOP
            np.testing.assert_array_equal(sink.samples, expected(name, lengths[name]))
    paused, resumed = ([name for kind, name in device.calls if kind == what] for what in ("pause", "resume"))
    assert paused
    assert sorted(paused) == sorted(resumed)
    assert "r0" not in paused


def test_a_disconnect_of_a_paused_request_frees_its_slot() -> None:
    device = FakeModelRunner(slots=2, cache_positions=700, tokens=20)
    device.hold_once_paused = True
    with engine(device) as running:
        first, second = submit(running, "first 600"), submit(running, "second 600")
        eventually(lambda: ("pause", "second") in device.calls, "the younger one is paused")
        second.cancel()
        eventually(lambda: len(running._delivery._watched) == 1, "its disconnect is noticed")
        device.hold_once_paused = False
        device.go.set()
        third = submit(running, "third 3")
        for sink in (first, second, third):
            sink.result()
    np.testing.assert_array_equal(third.samples, expected("third", 3))
    assert second.result().finish_reason is FinishReason.CANCELLED
