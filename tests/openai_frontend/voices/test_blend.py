"""The syntax of a blend, for any input."""

import math
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openai_frontend.errors import ApiError
from openai_frontend.voices.blend import MAX_WEIGHT, Part, parse_blend
from openai_frontend.voices.records import check_voice_name
from speech_protocol.request import MAX_BLEND_PARTS


def is_name(name: str) -> bool:
    try:
        return check_voice_name(name) == name
    except ApiError:
        return False


NAMES = st.text(min_size=1, max_size=20).filter(is_name)
WEIGHTS = st.decimals("0.01", str(MAX_WEIGHT), places=2)
SPACE = st.sampled_from(["", " ", "  "])


@given(st.lists(st.tuples(NAMES, WEIGHTS, SPACE), min_size=1, max_size=MAX_BLEND_PARTS))
def test_every_name_that_a_voice_may_have_can_be_blended_with_any_weight(parts: list[tuple[str, float, str]]) -> None:
    text = "+".join(f"{space}{name}{space}({space}{weight}{space}){space}" for name, weight, space in parts)
    total = sum(float(weight) for _, weight, _ in parts)
    parsed = parse_blend(text)
    assert [part.name for part in parsed] == [name for name, _, _ in parts]
    assert [part.weight for part in parsed] == pytest.approx([float(weight) / total for _, weight, _ in parts])
    assert math.fsum(part.weight for part in parsed) == pytest.approx(1)


@given(st.lists(NAMES, min_size=1, max_size=MAX_BLEND_PARTS))
def test_without_weights_all_weigh_the_same(names: list[str]) -> None:
    assert parse_blend("+".join(names)) == tuple(Part(name, pytest.approx(1 / len(names))) for name in names)


@given(st.text(max_size=40) | st.text("ab()+.0123456789e-", max_size=20))
@example("+")
@example("a(0)")
@example("a(" + "9" * 400 + ")")
@example("(1)")
def test_any_text_is_parts_with_weights_or_a_400_that_names_the_voice(text: str) -> None:
    with suppress(ApiError):
        parts = parse_blend(text)
        assert 1 <= len(parts) <= MAX_BLEND_PARTS
        assert all(part.name.strip() and 0 < part.weight <= 1 for part in parts)
        return
    with pytest.raises(ApiError) as error:
        parse_blend(text)
    assert (error.value.status, error.value.param) == (400, "voice")


def test_brackets_that_hold_no_number_are_of_the_name() -> None:
    assert parse_blend("Anna (calm)(2)+Bob (1.5)+Eve") == (
        Part("Anna (calm)", pytest.approx(2 / 4.5)),
        Part("Bob", pytest.approx(1.5 / 4.5)),
        Part("Eve", pytest.approx(1 / 4.5)),
    )
