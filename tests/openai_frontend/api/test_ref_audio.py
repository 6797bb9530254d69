"""The two text forms of a recording, in all variants that clients send."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_frontend.api.bodies.ref_audio import parse_ref_audio
from openai_frontend.errors import ApiError


@given(st.binary(), st.sampled_from(["", "audio/wav", "audio/webm;codecs=opus"]), st.booleans())
def test_every_file_comes_out_of_its_data_url_as_it_went_in(file: bytes, kind: str, padded: bool) -> None:
    encoded = base64.b64encode(file).decode()
    assert parse_ref_audio(f"data:{kind};base64,{encoded if padded else encoded.rstrip('=')}") == file


@given(st.binary(), st.integers(min_value=1, max_value=80))
def test_base64_may_be_broken_into_lines(file: bytes, width: int) -> None:
    encoded = base64.b64encode(file).decode()
    lines = "\n".join(encoded[start : start + width] for start in range(0, len(encoded), width))
    assert parse_ref_audio(lines) == file


@given(st.text())
def test_any_other_text_is_bytes_or_a_400_that_names_the_field(text: str) -> None:
    outcome = parsed_or_refused(text)
    assert isinstance(outcome, bytes) or (outcome.status, outcome.param) == (400, "ref_audio")


def parsed_or_refused(text: str) -> bytes | ApiError:
    try:
        return parse_ref_audio(text)
    except ApiError as error:
        return error


@pytest.mark.parametrize("text", ["not base64!", "data:;base64,ä", "AAAAA", "data:audio/wav;base64"])
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(ApiError, match="data URL"):
        parse_ref_audio(text)
