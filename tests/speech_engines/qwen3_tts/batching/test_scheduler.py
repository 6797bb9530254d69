"""Admission, queueing and runaways in the scheduler: no tensors, no threads."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_engines.qwen3_tts.batching.scheduler import Scheduler
from speech_engines.qwen3_tts.batching.sequence import Plan, Sequence, Stage
from speech_engines.qwen3_tts.model.cache_ranges import CacheRange, CacheRanges
from speech_engines.qwen3_tts.prompt.tokens import PromptTokens
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from speech_protocol.errors import SpeechError
from speech_protocol.request import SpeechRequest
from tests.support.sinks import CollectingSink

RAMP = (1, 2, 4)
TOKENS = 50_000  # enough that no budget of frames ends an utterance here


def sequences_of(count: int, prompt: int = 10, limit_frames: int = 5) -> list[Sequence]:
    plan = Plan(PromptTokens((0,) * prompt, (), 0, (), 0, TOKENS))
    return [
        Sequence(SpeechRequest(str(number)), CollectingSink(), plan, limit_frames * FRAME_SAMPLES)  # type: ignore[arg-type]
        for number in range(count)
    ]


def of_text(tokens: int, prompt: int = 80) -> Sequence:
    """A request whose text has `tokens` tokens, of at most ten minutes."""
    plan = Plan(PromptTokens((0,) * prompt, (), 0, (), 0, tokens))
    return Sequence(SpeechRequest("x"), CollectingSink(), plan, 600 * SAMPLE_RATE_HZ)  # type: ignore[arg-type]


def admit_and_speak(scheduler: Scheduler) -> Sequence | None:
    newcomer = scheduler.admit()
    if newcomer is not None:
        newcomer.stage = Stage.SPEAKING
    return newcomer


def test_the_scheduler_serves_in_order_of_arrival_and_reuses_the_lowest_slot() -> None:
    scheduler = Scheduler(slots=2, cache_positions=100, max_queue=9, ramp=RAMP)
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
    scheduler = Scheduler(slots=4, cache_positions=100, max_queue=9, ramp=RAMP)
    first, second = sequences_of(2)
    scheduler.submit(first)
    scheduler.submit(second)
    assert scheduler.admit() is scheduler.prompting is first
    assert scheduler.admit() is None
    scheduler.remove(first)  # cancelled half-way
    assert scheduler.admit() is second


def test_a_request_without_cache_positions_waits_and_is_not_overtaken() -> None:
    scheduler = Scheduler(slots=4, cache_positions=40, max_queue=9, ramp=RAMP)
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


def admitted(scheduler: Scheduler, requests: list[Sequence]) -> int:
    for request in requests:
        scheduler.submit(request)
    while admit_and_speak(scheduler) is not None:
        pass
    return len(scheduler.running)


@pytest.mark.parametrize("cache_positions", [16_384, 10_000], ids=["CPU", "GPU"])
def test_short_texts_fill_all_rows(cache_positions: int) -> None:
    scheduler = Scheduler(16, cache_positions, max_queue=99, ramp=RAMP)
    assert admitted(scheduler, [of_text(60) for _ in range(20)]) == 16


@pytest.mark.parametrize("cache_positions", [16_384, 10_000], ids=["CPU", "GPU"])
def test_two_requests_of_ten_minutes_do_not_block_the_other_rows(cache_positions: int) -> None:
    scheduler = Scheduler(16, cache_positions, max_queue=99, ramp=RAMP)
    assert admitted(scheduler, [of_text(300), of_text(300), *(of_text(60) for _ in range(20))]) == 16


@pytest.mark.parametrize("tokens", [0, 1, 60, 400, 5000])
def test_what_a_request_may_come_to_is_bounded_by_what_it_begins_with(tokens: int) -> None:
    request = of_text(tokens)
    assert request.expected_cache_positions <= request.max_cache_positions <= 5 * request.expected_cache_positions


def test_a_request_grows_and_the_youngest_makes_place() -> None:
    scheduler = Scheduler(2, 720, max_queue=9, ramp=RAMP)
    old, young = of_text(20), of_text(20)
    assert admitted(scheduler, [old, young]) == 2
    while scheduler.grow(old):
        pass
    assert scheduler.youngest() is young
    scheduler.pause(young)
    assert (young.slot, young.held_cache_positions, scheduler.speaking) == (1, 0, (old,))
    while old.held_cache_positions < old.max_cache_positions:
        assert scheduler.grow(old)
    assert scheduler.resume() is None
    scheduler.remove(old)
    assert scheduler.resume() is young
    assert young.stage is Stage.SPEAKING
    assert scheduler.running == (young,)


def test_the_chunk_of_the_most_urgent_listener_is_decoded_first() -> None:
    scheduler = Scheduler(slots=3, cache_positions=100, max_queue=9, ramp=RAMP)
    ahead, late, new = sequences = sequences_of(3)
    for sequence in sequences:
        scheduler.submit(sequence)
        assert admit_and_speak(scheduler) is sequence
    for sequence, chunks, frames, sent in ((ahead, 2, 4, 90_000), (late, 1, 2, 1920), (new, 0, 1, 0)):
        sequence.chunks, sequence.undecoded_frames, sequence.sent_samples = chunks, frames, sent
    assert scheduler.due() == [(1, [new]), (2, [late]), (4, [ahead])]


@given(st.lists(st.integers(1, 40), max_size=60), st.randoms())
def test_stretches_never_overlap_and_all_come_back(counts: list[int], choose: random.Random) -> None:
    cache_ranges = CacheRanges(100)
    taken: list[CacheRange] = []
    for count in counts:
        if taken and choose.random() < 0.3:
            grows = choose.randrange(len(taken))
            taken[grows] = cache_ranges.grow(taken[grows], taken[grows].count + count) or taken[grows]
            assert all(a == b or a.stop <= b.start or b.stop <= a.start for a in taken for b in taken)
            assert sum(cache_range.count for cache_range in taken) <= 100
        elif (cache_range := cache_ranges.take(count)) is None:
            assert taken
            cache_ranges.give(taken.pop(choose.randrange(len(taken))))
        else:
            assert cache_range.count == count
            assert 0 <= cache_range.start <= cache_range.stop <= 100
            assert all(cache_range.stop <= other.start or other.stop <= cache_range.start for other in taken)
            taken.append(cache_range)
    for cache_range in taken:
        cache_ranges.give(cache_range)
    assert cache_ranges.take(100) == CacheRange(0, 100)
