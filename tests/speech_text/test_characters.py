"""Unicode normalisation, and the letters that a model reads."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_text.characters import latin_only, normalized


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Zu\u0308rich", "Zürich"),
        (unicodedata.normalize("NFD", "Größe, café, 한국어, が"), "Größe, café, 한국어, が"),
        ("co\u00adop\u00ader\u00adate", "cooperate"),
        ("zero\u200bwidth and \u2060joined", "zerowidth and joined"),
        ("\ufeffHello \ufeffthere", "Hello there"),
        ("a\u200db e\u0301\u200ct", "ab ét"),
        ("left\u200e to \u202bright\u202c", "left to right"),
        ("bell\x07 and \x00nul", "bell and nul"),
        ("ﬁne eﬃcient", "fine efficient"),
    ],
)
def test_what_looks_the_same_is_the_same_text(text: str, same: str) -> None:
    assert normalized(text) == same


@pytest.mark.parametrize("text", ["می\u200cخواهم", "क्\u200dष", "👨\u200d👩\u200d👧", "a\tb\r\n\nc\x0cd\x85e", "x² ½ ①"])
def test_what_changes_the_meaning_stays(text: str) -> None:
    assert normalized(text) == text


@pytest.mark.parametrize(
    ("text", "readable", "left_out"),
    [
        ("The sign says 出口 today.", "The sign says  today.", True),
        ("Привет, world", ", world", True),
        ("λόγος is Greek", " is Greek", True),
        ("हिन्दी and ไทย", " and ", True),
        ("α-rays, 5 Ω and π", "alpha-rays, 5 omega and pi", False),
        ("Ｈｅｌｌｏ ٤٢", "Hello 42", False),
        ("naïve café, 5 µm, €3 — “quoted” ½", "naïve café, 5 µm, €3 — “quoted” ½", False),
    ],
)
def test_letters_that_are_not_latin_are_left_out_for_a_model_of_english(
    text: str, readable: str, left_out: bool
) -> None:
    assert latin_only(text) == (readable, left_out)


@given(st.text())
def test_normalizing_twice_changes_nothing(text: str) -> None:
    assert normalized(normalized(text)) == normalized(text)


@pytest.mark.parametrize(
    "unit",
    ["a\u0301\u0323", "\u0301\u0323", "\u0315\u0300", "\u00ad", "a\u200d", "\u200d", "\u0301\u200d", "α ", "出", "ﷺ"],
)
def test_no_text_takes_quadratic_time(unit: str) -> None:
    def seconds(length: int) -> float:
        begin_s = time.process_time()
        latin_only(normalized(unit * (length // len(unit))))
        return time.process_time() - begin_s

    # A hundred times the text: some hundred times as long, if quadratic time would be ten thousand times.
    assert seconds(200_000) < 1000 * max(seconds(2_000), 0.001)
