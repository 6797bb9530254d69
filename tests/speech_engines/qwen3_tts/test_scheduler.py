"""Who runs next, who waits, and who ran away: no tensors, no threads."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_engines.qwen3_tts.guard import MAX_EQUAL_FRAMES, RunawayGuard
from speech_engines.qwen3_tts.scheduler import Scheduler
from speech_engines.qwen3_tts.script import Script
from speech_engines.qwen3_tts.sequence import Plan, Sequence, Stage
from speech_engines.qwen3_tts.stretches import Stretch, Stretches
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from speech_protocol.errors import SpeechError
from speech_protocol.events import FinishReason
from speech_protocol.request import SpeechRequest
from tests.support.sinks import CollectingSink

RAMP = (1, 2, 4)
TOKENS = 50_000  # so many that no budget of frames ends an utterance here


def sequences_of(count: int, prompt: int = 10, limit_frames: int = 5) -> list[Sequence]:
    plan = Plan(Script((0,) * prompt, (), 0, (), 0, TOKENS))
    return [
        Sequence(SpeechRequest(str(number)), CollectingSink(), plan, limit_frames * FRAME_SAMPLES)  # type: ignore[arg-type]
        for number in range(count)
    ]


def admit_and_speak(scheduler: Scheduler) -> Sequence | None:
    newcomer = scheduler.admit()
    if newcomer is not None:
        newcomer.stage = Stage.SPEAKING
    return newcomer


def test_the_scheduler_serves_in_order_of_arrival_and_reuses_the_lowest_slot() -> None:
    scheduler = Scheduler(slots=2, places=100, max_queue=9, ramp=RAMP)
    sequences = sequences_of(5)
    for sequence in sequences:
        scheduler.submit(sequence)
    assert [admit_and_speak(scheduler) for _ in range(3)] == [*sequences[:2], None]
    assert [sequence.slot for sequence in sequences[:2]] == [0, 1]
    assert scheduler.remove(sequences[0])
    assert not scheduler.remove(sequences[0])
    assert admit_and_speak(scheduler) is sequences[2]
    assert sequences[2].slot == 0
    scheduler.remove(sequences[4])
    assert scheduler.waiting == (sequences[3],)


def test_one_prompt_is_read_at_a_time() -> None:
    scheduler = Scheduler(slots=4, places=100, max_queue=9, ramp=RAMP)
    first, second = sequences_of(2)
    scheduler.submit(first)
    scheduler.submit(second)
    assert scheduler.admit() is scheduler.prompting is first
    assert scheduler.admit() is None
    scheduler.remove(first)  # cancelled half-way
    assert scheduler.admit() is second


def test_who_finds_no_places_waits_for_them_and_nobody_overtakes() -> None:
    scheduler = Scheduler(slots=4, places=40, max_queue=9, ramp=RAMP)
    first, second = sequences_of(2)
    large = sequences_of(1, prompt=30)[0]
    for sequence in (first, large, second):
        scheduler.submit(sequence)
    assert [admit_and_speak(scheduler) for _ in range(2)] == [first, None]
    scheduler.remove(first)
    assert [admit_and_speak(scheduler) for _ in range(2)] == [large, None]
    scheduler.remove(large)
    assert admit_and_speak(scheduler) is second
    with pytest.raises(SpeechError) as error:
        scheduler.submit(sequences_of(1, prompt=36)[0])
    assert error.value.param == "text"


def test_the_chunk_of_the_most_urgent_listener_is_decoded_first() -> None:
    scheduler = Scheduler(slots=3, places=100, max_queue=9, ramp=RAMP)
    ahead, late, new = sequences = sequences_of(3)
    for sequence in sequences:
        scheduler.submit(sequence)
        assert admit_and_speak(scheduler) is sequence
    for sequence, chunks, frames, sent in ((ahead, 2, 4, 90_000), (late, 1, 2, 1920), (new, 0, 1, 0)):
        sequence.chunks, sequence.undecoded_frames, sequence.sent_samples = chunks, frames, sent
    assert scheduler.due() == [(1, [new]), (2, [late]), (4, [ahead])]


@given(st.lists(st.integers(1, 40), max_size=60), st.randoms())
def test_stretches_never_overlap_and_all_come_back(counts: list[int], choose: random.Random) -> None:
    stretches = Stretches(100)
    taken: list[Stretch] = []
    for count in counts:
        if (stretch := stretches.take(count)) is None:
            assert taken
            stretches.give(taken.pop(choose.randrange(len(taken))))
        else:
            assert stretch.count == count
            assert 0 <= stretch.start <= stretch.stop <= 100
            assert all(stretch.stop <= other.start or other.stop <= stretch.start for other in taken)
            taken.append(stretch)
    for stretch in taken:
        stretches.give(stretch)
    assert stretches.take(100) == Stretch(0, 100)


def test_the_guard_stops_repetition_silence_and_more_frames_than_the_text_can_need() -> None:
    guard = RunawayGuard(text_tokens=2)
    reasons = [guard.after_frame([7] * 16) for _ in range(MAX_EQUAL_FRAMES + 1)]
    assert reasons[-2:] == [None, FinishReason.REPETITION]
    guard = RunawayGuard(text_tokens=2)
    reasons = [guard.after_frame([number] * 16) for number in range(176)]
    assert reasons[-2:] == [None, FinishReason.BUDGET]  # 14 s
    guard = RunawayGuard(text_tokens=2)
    second, spoken = np.zeros(SAMPLE_RATE_HZ, np.float32), np.full(SAMPLE_RATE_HZ, 0.1, np.float32)
    assert [guard.after_audio(second) for _ in range(5)] == [None] * 5
    assert guard.after_audio(spoken) is None
    assert [guard.after_audio(second) for _ in range(7)][-2:] == [None, FinishReason.SILENCE]
