"""Streaming text input: however it is split, all of it is synthesized, in order, and as early as possible."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_frontend.errors import ApiError
from openai_frontend.synthesis.live import LiveText
from speech_text.segments import SEGMENT_WIDTH, is_spoken, text_width

TEXT = (
    "Dr. Smith came late, as he often did. It was 3.5 miles to the sea! Was it? Nobody knew.\n\n"
    "A long sentence without an end follows, " + "and it goes on, " * 40 + "until it stops."
)


def segments(pieces: list[str]) -> list[str]:
    """The segments that are available after each piece, and at the end."""
    text, found = LiveText(10_000, 0), []
    for piece in pieces:
        text.append(piece)
        while (segment := text.take()) is not None:
            found.append(segment)
    text.close()
    while (segment := text.take()) is not None:
        found.append(segment)
    return found


@given(st.lists(st.integers(0, len(TEXT)), max_size=60))
@settings(max_examples=150)
def test_however_a_text_is_cut_all_of_it_is_spoken_in_segments_that_fit(cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(TEXT)]
    found = segments([TEXT[begin:end] for begin, end in pairwise(bounds)])
    assert "".join(found) == TEXT
    assert all(text_width(segment) <= SEGMENT_WIDTH for segment in found)
    assert all(is_spoken(segment) for segment in found)


def test_a_sentence_is_ready_when_the_next_one_begins_and_the_first_clause_before_its_end() -> None:
    text = LiveText(1000, 0)
    text.append("Short one, ")
    assert text.take() is None  # too short to begin with
    text.append("but it becomes long enough to be spoken, a")
    assert text.take() == "Short one, but it becomes long enough to be spoken, "
    text.append(" clause, and another clause of that kind, and the end. ")
    assert text.take() is None  # later ones end with their sentence, which more text may still change
    text.append("Next")
    assert text.take() == "a clause, and another clause of that kind, and the end. "
    text.flush()
    assert text.take() == "Next"


def test_a_text_has_a_limit_and_an_end() -> None:
    text = LiveText(5, 0)
    text.append("12345")
    with pytest.raises(ApiError, match="more than 5 characters"):
        text.append("6")
    text.close()
    with pytest.raises(ApiError, match="has ended"):
        text.append("")


def test_a_reader_waits_for_text_and_not_for_ever() -> None:
    async def scenario() -> None:
        text = LiveText(100, 0.01)
        with pytest.raises(ApiError) as refused:
            await text.next()
        assert refused.value.status == 408
        reading = asyncio.create_task(text.next())
        text.append("One sentence. Another")
        assert await reading == "One sentence. "
        text.close()
        assert await text.next() == "Another"
        assert await text.next() is None

    asyncio.run(scenario())
