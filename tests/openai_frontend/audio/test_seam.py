"""A segment's own silence at a seam is removed, however the input is split, and nothing else."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_frontend.audio.seam import LONGEST_LEAD_S, LeadTrimmer, SeamTrimmer
from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ

MARGIN_SAMPLES = int(0.03 * SAMPLE_RATE_HZ)
SILENCE, SOUND = np.zeros(9_000, "<i2"), np.full(500, 5_000, "<i2")
SEGMENT = np.concatenate([SILENCE, SOUND, SILENCE, SILENCE, -SOUND, SILENCE])


def trimmed(pcm: bytes, cuts: list[int], *, start: bool, end: bool) -> bytes:
    return through(SeamTrimmer(start=start, end=end), pcm, cuts)


def through(trimmer: SeamTrimmer | LeadTrimmer, pcm: bytes, cuts: list[int]) -> bytes:
    bounds = [0, *sorted(cut * SAMPLE_BYTES for cut in cuts), len(pcm)]
    pieces = [trimmer.trim(pcm[begin:stop]) for begin, stop in pairwise(bounds)]
    return b"".join([*pieces, trimmer.finish()])


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("end", [False, True])
@given(cuts=st.lists(st.integers(0, len(SEGMENT)), max_size=20))
@settings(max_examples=50, deadline=None)
def test_silence_goes_at_the_seam_only(start: bool, end: bool, cuts: list[int]) -> None:
    first = len(SILENCE) - MARGIN_SAMPLES if start else 0
    last = len(SEGMENT) - len(SILENCE) + MARGIN_SAMPLES if end else len(SEGMENT)
    assert trimmed(SEGMENT.tobytes(), cuts, start=start, end=end) == SEGMENT[first:last].tobytes()


def test_sound_is_not_held_back() -> None:
    trimmer = SeamTrimmer(start=True, end=True)
    assert trimmer.trim(b"\x00\x20" * 1_920) == b"\x00\x20" * 1_920


def test_a_silent_segment_leaves_next_to_nothing() -> None:
    assert len(trimmed(bytes(96_000), [1_000, 20_000], start=True, end=True)) <= MARGIN_SAMPLES * SAMPLE_BYTES


@given(cuts=st.lists(st.integers(0, len(SEGMENT)), max_size=20), keep_s=st.floats(0, 3))
@settings(max_examples=50, deadline=None)
def test_a_reply_keeps_so_much_of_the_silence_before_its_first_sound_and_all_that_follows(
    cuts: list[int], keep_s: float
) -> None:
    first = max(0, len(SILENCE) - int(keep_s * SAMPLE_RATE_HZ))
    assert through(LeadTrimmer(keep_s), SEGMENT.tobytes(), cuts) == SEGMENT[first:].tobytes()


def test_the_first_sound_is_not_held_back_and_neither_is_what_follows() -> None:
    trimmer, sound, silence = LeadTrimmer(0.1), SOUND.tobytes(), SILENCE.tobytes()
    assert trimmer.trim(silence) == b""
    assert trimmer.trim(sound)[-len(sound) :] == sound
    assert trimmer.trim(silence) == silence


@pytest.mark.parametrize("seconds", [1.0, LONGEST_LEAD_S, 5.0])
def test_a_reply_that_stays_quiet_is_whole(seconds: float) -> None:
    pcm = bytes(int(seconds * SAMPLE_RATE_HZ) * SAMPLE_BYTES)
    assert through(LeadTrimmer(0.1), pcm, [1_000, 20_000]) == pcm
