"""Words of a text, and times in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_engines.forced_aligner.words import in_order, words_of


@pytest.mark.parametrize(
    ("text", "shown", "read"),
    [
        ("Hello, world!", ["Hello,", "world!"], ["Hello", "world"]),
        ("It's 3.5 \u2013 or so.", ["It's", "3.5\u2013", "or", "so."], ["It's", "35", "or", "so"]),
        ("\u4eca\u5929\u597d\u3002", ["\u4eca", "\u5929", "\u597d\u3002"], ["\u4eca", "\u5929", "\u597d"]),
        (
            "\u6771\u4eac\u30bf\u30ef\u30fc\u306f",
            ["\u6771", "\u4eac", "\u30bf\u30ef\u30fc", "\u306f"],
            ["\u6771", "\u4eac", "\u30bf\u30ef\u30fc", "\u306f"],
        ),
        ("\uc548\ub155 \uc138\uacc4", ["\uc548\ub155", "\uc138\uacc4"], ["\uc548\ub155", "\uc138\uacc4"]),
        (" ... \u2026", [], []),
    ],
)
def test_a_text_is_split_into_the_words_that_the_model_reads(text: str, shown: list[str], read: list[str]) -> None:
    words = words_of(text)
    assert [word.shown for word in words] == shown
    assert [word.read for word in words] == read


@given(st.lists(st.floats(0, 300), min_size=1, max_size=60))
def test_repaired_times_never_decrease_and_stay_within_the_given_ones(times: list[float]) -> None:
    repaired = in_order(times)
    assert repaired == sorted(repaired)
    assert len(repaired) == len(times)
    assert min(times) <= repaired[0]
    assert repaired[-1] <= max(times)


def test_times_in_order_are_kept_and_wrong_ones_replaced_by_their_neighbours() -> None:
    assert in_order([1.0, 2.0, 2.0, 5.0]) == [1.0, 2.0, 2.0, 5.0]
    assert in_order([1.0, 9.0, 2.0, 3.0]) == [1.0, 1.0, 2.0, 3.0]
    assert in_order([1.0, 9.0, 8.0, 7.0, 2.0, 3.0, 4.0, 5.0]) == [1.0, 1.25, 1.5, 1.75, 2.0, 3.0, 4.0, 5.0]
