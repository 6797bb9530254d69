"""Rows whose text is still being written, without tensors: they wait, cost the others nothing, and are given up."""

from collections.abc import Sequence as Codes

import pytest

from speech_engines.qwen3_tts.batching import open_text
from speech_engines.qwen3_tts.batching.engine import BatchEngine
from speech_engines.qwen3_tts.batching.sequence import Plan
from speech_engines.qwen3_tts.prompt.tokens import PromptTokens
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import FinishReason
from speech_protocol.request import SpeechRequest, StreamAction
from tests.speech_engines.qwen3_tts.batching.test_engine import PROMPT, FakeModelRunner, engine, submit
from tests.support.sinks import CollectingSink
from tests.support.waiting import eventually


class FakeStreams(FakeModelRunner):
    """A token is a letter of the added text, or the end of it. An utterance ends with its text."""

    def __init__(self, slots: int = 4, cache_positions: int = 1_000_000) -> None:
        super().__init__(slots, cache_positions)
        self.added: dict[int, int] = {}  # by slot

    def plan(self, request: SpeechRequest) -> Plan:
        if request.stream_action is None:
            return super().plan(request)
        return Plan(PromptTokens((0,) * PROMPT, (), 0, (), 0, 1, rest=""))

    def more_tokens(self, rest: str, *, final: bool) -> tuple[tuple[int, ...], str]:
        return tuple(map(ord, rest)) + (0,) * final, ""

    def append(self, slot: int, tokens: Codes[int], *, final: bool) -> None:
        self.added[slot] = self.added.get(slot, 0) + len(tokens)
        assert self.added[slot] < self._cache_ranges[slot].count
        if final:
            self._names[slot] = (self._names[slot][0], self.added[slot])

    def step(self, slots: Codes[int]) -> tuple[list[list[int]], list[bool]]:
        for slot in slots:
            assert self._frames[slot] < self.added.get(slot, self._names[slot][1] + 1) or self._is_closed(slot)
        return super().step(slots)

    def _is_closed(self, slot: int) -> bool:
        return self._names[slot][1] == self.added[slot]

    def release(self, slot: int) -> None:
        super().release(slot)
        self.added.pop(slot, None)


def start(running: BatchEngine, name: str) -> CollectingSink:
    return submit(running, f"{name} 1000000", stream_id=name, stream_action=StreamAction.OPEN)


def add(running: BatchEngine, name: str, text: str, *, final: bool = False) -> int:
    action = StreamAction.CLOSE if final else StreamAction.APPEND
    return running.append(SpeechRequest(text, stream_id=name, stream_action=action))


def frames(sink: CollectingSink) -> int:
    return len(sink.samples) // 1920


def test_a_row_speaks_its_text_so_far_at_once_and_waits() -> None:
    with engine(FakeStreams()) as running:
        sink = start(running, "a")
        assert add(running, "a", "xxxxx") == 6
        eventually(lambda: frames(sink) == 5, "the text so far is spoken, in whatever chunks")
        add(running, "a", "xxx")
        eventually(lambda: frames(sink) == 8, "the added text is spoken")
        add(running, "a", "", final=True)
        assert sink.result().finish_reason is FinishReason.STOP
        assert (frames(sink), sink.result().text_tokens) == (9, 10)


def test_a_waiting_row_is_not_stepped_and_the_engine_sleeps() -> None:
    device = FakeStreams()
    with engine(device) as running:
        waiting = start(running, "w")
        add(running, "w", "xx")
        eventually(lambda: frames(waiting) == 2, "it waits")
        device.calls.clear()
        other = submit(running, "other 20")
        other.result()
        assert {names for kind, names in device.calls if kind == "step"} == {("other",)}
        before = len(device.calls)
        submit(running, "next 1").result()
        assert len(device.calls) - before < 10


def test_a_waiting_row_is_cancelled_at_once_and_its_slot_is_free() -> None:
    with engine(FakeStreams(slots=1)) as running:
        waiting = start(running, "w")
        add(running, "w", "xx")
        eventually(lambda: frames(waiting) == 2, "it waits")
        next_one = submit(running, "next 3")
        waiting.cancel()
        assert next_one.result().finish_reason is FinishReason.STOP
        assert waiting.result().finish_reason is FinishReason.CANCELLED


def test_a_row_that_waits_too_long_for_text_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_text, "TEXT_TIMEOUT_S", 0.05)
    with engine(FakeStreams(slots=1)) as running:
        waiting = start(running, "w")
        with pytest.raises(SpeechError, match="No text arrived"):
            waiting.result()
        assert submit(running, "next 3").result().finish_reason is FinishReason.STOP


def test_a_waiting_row_leaves_the_cache_to_others_and_goes_on_when_text_arrives() -> None:
    device = FakeStreams(slots=2, cache_positions=PROMPT + 400)
    with engine(device) as running:
        waiting = submit(running, "w 1000000", stream_id="w", stream_action=StreamAction.OPEN, max_audio_seconds=24)
        add(running, "w", "xx")
        eventually(lambda: frames(waiting) == 2, "it waits")
        other = submit(running, "other 390", max_audio_seconds=31.9)
        assert other.result().finish_reason is FinishReason.STOP
        assert ("pause", "w") in device.calls
        add(running, "w", "xxx", final=True)
        waiting.result()
        assert frames(waiting) == 6


@pytest.mark.parametrize("name", ["unknown", "closed", "ended"])
def test_text_for_a_stream_that_is_not_open_is_a_clear_error(name: str) -> None:
    device = FakeStreams()
    device.go.clear()
    with engine(device) as running:
        start(running, "closed")
        add(running, "closed", "x", final=True)
        ended = start(running, "ended")
        ended.cancel()
        device.go.set()
        ended.wait()
        with pytest.raises(SpeechError) as caught:
            add(running, name, "more")
        assert (caught.value.code, caught.value.param) == (ErrorCode.INVALID_REQUEST, "stream_id")


def test_a_stream_id_is_used_once_at_a_time() -> None:
    with engine(FakeStreams()) as running:
        start(running, "a")
        with pytest.raises(SpeechError) as caught:
            start(running, "a")
        assert (caught.value.code, caught.value.param) == (ErrorCode.INVALID_REQUEST, "stream_id")


def test_text_beyond_the_cache_is_refused_and_the_text_before_it_is_spoken() -> None:
    with engine(FakeStreams(cache_positions=PROMPT + 400)) as running:
        sink = start(running, "a")
        add(running, "a", "xx")
        with pytest.raises(SpeechError, match="too long"):
            add(running, "a", "x" * 200)
        add(running, "a", "", final=True)
        sink.result()
        assert frames(sink) == 3
