"""A blend on the wire: encoding and decoding are inverse, and errors name the field."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.request import MAX_BLEND_PARTS, BlendPart, SpeechRequest

AUDIO = base64.b64encode(b"\0\1").decode()
WHOLE_SAMPLES = st.binary(min_size=2, max_size=64).map(lambda data: data[: len(data) // 2 * 2])
PARTS = st.builds(BlendPart, WHOLE_SAMPLES, st.floats(1e-6, 1e6))


@given(st.lists(PARTS, min_size=1, max_size=MAX_BLEND_PARTS).map(tuple))
def test_a_blend_is_read_as_it_was_sent(parts: tuple[BlendPart, ...]) -> None:
    request = SpeechRequest("Hi.", ref_blend=parts)
    tensors = json.loads(json.dumps(request.to_tensors()))
    assert "REF_AUDIO" not in tensors
    assert SpeechRequest.from_tensors(tensors) == request


@pytest.mark.parametrize(
    "blend",
    [
        "{",
        "3",
        "[]",
        "[3]",
        '[{"weight": 1}]',
        json.dumps([{"audio": "?", "weight": 1}]),
        json.dumps([{"audio": AUDIO, "weight": "much"}]),
        json.dumps([{"audio": AUDIO, "weight": 0}]),
        json.dumps([{"audio": AUDIO, "weight": -1}]),
        '[{"audio": "AAA=", "weight": NaN}]',
        json.dumps([{"audio": AUDIO, "weight": 1}] * (MAX_BLEND_PARTS + 1)),
    ],
)
def test_what_is_no_blend_is_refused_naming_the_field(blend: str) -> None:
    with pytest.raises(SpeechError) as error:
        SpeechRequest.from_tensors({"TEXT": "Hi.", "REF_BLEND": blend})
    assert error.value.param == "ref_blend"


@pytest.mark.parametrize("fields", [{"REF_AUDIO": AUDIO}, {"REF_TEXT": "Said."}])
def test_a_blend_goes_with_no_other_reference(fields: dict[str, Any]) -> None:
    blend = json.dumps([{"audio": AUDIO, "weight": 1}])
    with pytest.raises(SpeechError) as error:
        SpeechRequest.from_tensors({"TEXT": "Hi.", "REF_BLEND": blend, **fields})
    assert (error.value.code, error.value.param) == (ErrorCode.INVALID_REQUEST, "ref_blend")
