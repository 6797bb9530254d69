"""Sentences, segments and pauses of a text."""

import unicodedata

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_frontend.errors import ApiError
from openai_frontend.synthesis.pauses import split_pauses
from openai_frontend.synthesis.script import Silence, write_script
from speech_protocol.audio import SAMPLE_RATE_HZ
from speech_text.segments import CLAUSE_PAUSE_S, PARAGRAPH_PAUSE_S, SEGMENT_WIDTH, SENTENCE_PAUSE_S, split_segments
from speech_text.sentences import SPLITTERS, split_sentences
from tests.speech_text.corpus import CORPUS, SPACELESS

# The characters that the rules depend on, far denser than in any text, and all of Unicode by hypothesis.
TEXTS = st.one_of(
    st.text(max_size=3_000),
    st.text('aB1 .,!?…"”»)\n\r—。、「」！Ж한あ漢é\u0301🙂\u200d👍🏽', max_size=3_000),
    st.lists(st.sampled_from(["Dr. ", "z. B. ", "3.5", "Hello", " there. ", "\n\n", "你好。", "네. "])).map("".join),
)
LOOKALIKES = "[pause] a [pause:abc] [pause:1] [pause:-1s] [pause:1m] [pause:1s"
SENTENCE = "The children are playing in the garden behind the house. "


def speech(text: str) -> list[str]:
    return [part for part in write_script(text) if isinstance(part, str)]


def pauses_s(text: str) -> list[float]:
    return [part.samples / SAMPLE_RATE_HZ for part in write_script(text) if isinstance(part, Silence)]


@pytest.mark.parametrize(("language", "sentences"), CORPUS)
def test_sentences_end_where_a_reader_ends_them(language: str, sentences: tuple[str, ...]) -> None:
    found = split_sentences(("" if language in SPACELESS else " ").join(sentences))
    assert [sentence.strip() for sentence in found] == list(sentences)


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_pieces_joined_are_the_text(text: str) -> None:
    for split in (*SPLITTERS, split_segments):
        assert "".join(split(text)) == text


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_no_segment_is_longer_than_an_utterance_unless_it_is_one_character(text: str) -> None:
    for segment in split_segments(text):
        assert len(segment) <= SEGMENT_WIDTH or regex.fullmatch(r"\X", segment)


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_no_character_is_cut_in_two(text: str) -> None:
    ends = {match.end() for match in regex.finditer(r"\X", text)}
    # A line break of two characters is white space: a split there is inaudible.
    position = 0
    for segment in split_segments(text)[:-1]:
        position += len(segment)
        assert position in ends or text[position - 1 : position + 1] == "\r\n"


@pytest.mark.parametrize(("language", "sentences"), CORPUS)
def test_a_long_text_of_any_language_is_cut_at_sentence_ends_only(language: str, sentences: tuple[str, ...]) -> None:
    space = "" if language in SPACELESS else " "
    text = space.join(sentences * 20)
    segments = split_segments(text)
    assert len(segments) > 3
    ends = tuple(sentence[-1] for sentence in sentences)
    assert all(segment.rstrip().endswith(ends) for segment in segments)


def test_a_short_text_is_one_segment_as_it_is() -> None:
    text = "Dear reader,\n\nthis is a letter. It has two paragraphs. "
    assert split_segments(text) == [text]
    assert write_script(text) == (text.strip(),)


def test_the_first_segment_is_short_and_the_others_are_filled() -> None:
    widths = [len(segment) for segment in split_segments(SENTENCE * 40)]
    assert widths[0] <= 120
    assert all(SEGMENT_WIDTH - len(SENTENCE) < width <= SEGMENT_WIDTH for width in widths[1:-1])


def test_chinese_segments_have_fewer_characters_than_latin_ones() -> None:
    chinese = split_segments("今天天气很好，我们去公园吧。" * 100)
    assert max(map(len, chinese)) <= SEGMENT_WIDTH / 3


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("we walked on and on, past the old mill, " * 125, ", "),
        ("word " * 1_000, " "),
        ("Donaudampfschifffahrtsgesellschaft" * 147, ""),
        ("我们一直往前走" * 700, ""),
        ("👨‍👩‍👧‍👦" * 700, "👦"),
    ],
    ids=["clauses", "spaces", "nothing", "Chinese without a mark", "families"],
)
def test_one_sentence_of_5000_characters_is_cut_at_the_best_places_it_has(text: str, ends: str) -> None:
    segments = split_segments(text)
    assert len(segments) > 10
    assert "".join(segments) == text
    assert all(segment.endswith(ends) for segment in segments)


def test_an_accent_stays_with_its_letter() -> None:
    text = unicodedata.normalize("NFD", "é" * 2_000)
    assert all(len(segment) % 2 == 0 for segment in split_segments(text))


def test_pauses_between_segments_go_by_what_ends_there() -> None:
    assert set(pauses_s(SENTENCE * 20)) == {SENTENCE_PAUSE_S}
    assert PARAGRAPH_PAUSE_S in pauses_s("\n\n".join([SENTENCE * 3] * 4))
    assert set(pauses_s("on and on, " * 100)) == {CLAUSE_PAUSE_S}


def test_what_has_no_word_is_no_segment() -> None:
    text = f"{SENTENCE * 6}\n\n{'* ' * 400}\n\n{SENTENCE * 6}"
    assert all("house" in segment for segment in speech(text))


def test_marks_and_symbols_alone_are_left_to_the_model() -> None:
    assert write_script("?!") == ("?!",)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Hello. [pause:0.5s] World.", ["Hello. ", 12_000, " World."]),
        ("[pause:500ms]Hello.[PAUSE: 2 S ]", [12_000, "Hello.", 48_000]),
        ("a[pause:0s]b", ["a", 0, "b"]),
        ("a[pause:10s][pause:.25s]b", ["a", 240_000, 6_000, "b"]),
        (LOOKALIKES, [LOOKALIKES]),
        ("[[pause:1s]]", ["[", 24_000, "]"]),
        ("", []),
    ],
)
def test_a_pause_mark_is_a_silence_and_what_only_looks_like_one_is_text(text: str, parts: list[str | int]) -> None:
    assert split_pauses(text) == parts


@pytest.mark.parametrize("text", ["[pause:10.1s]", "[pause:10001ms]", "[pause:999999999s]", "a[pause:10s]" * 61])
def test_pauses_that_are_too_long_are_refused(text: str) -> None:
    with pytest.raises(ApiError) as error:
        split_pauses(text)
    assert (error.value.status, error.value.param) == (400, "input")


MARKS = st.builds("[pause:{}{}]".format, st.integers(0, 9), st.sampled_from(["s", "ms", " S"]))


@given(st.lists(st.one_of(MARKS, st.text("ab. [:]ps", min_size=1, max_size=20)), max_size=30))
def test_text_between_pause_marks_survives_and_marks_do_not(pieces: list[str]) -> None:
    text = "".join(pieces)
    parts = split_pauses(text)
    unmarked = regex.sub(r"\[pause:\s*[0-9.]+\s*m?s\s*\]", "\0", text, flags=regex.IGNORECASE).split("\0")
    assert [part for part in parts if isinstance(part, str)] == [part for part in unmarked if part.strip()]
    assert sum(isinstance(part, int) for part in parts) == len(unmarked) - 1


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_a_script_says_every_word_once_and_in_order(text: str) -> None:
    if not text.strip():
        with pytest.raises(ApiError, match="nothing to speak"):
            speech(text)
        return
    assert regex.findall(r"[\p{L}\p{N}]", "".join(speech(text))) == regex.findall(r"[\p{L}\p{N}]", text)
