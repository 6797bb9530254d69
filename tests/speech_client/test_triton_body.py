"""The body of a request to Triton equals the wire format, however it is assembled."""

import json
import os

import pytest

from speech_client.triton import _body
from speech_protocol.request import BlendPart, SpeechRequest

LONG = os.urandom(2 * 300_001)
PARTS = (BlendPart(LONG, 0.25), BlendPart(b"\x01\x02", 1 / 3))


@pytest.mark.parametrize(
    "request_",
    [
        SpeechRequest('Say "hi" \\ 你好', seed=5, x_vector_only=True),
        SpeechRequest("hi", ref_audio=LONG, ref_text='a "quote"'),
        SpeechRequest("hi", ref_blend=PARTS[:1]),
        SpeechRequest("hi", ref_blend=PARTS, request_id="r1", traceparent="00-1-2-01"),
    ],
)
def test_a_body_is_the_tensors_as_json(request_: SpeechRequest) -> None:
    values = json.loads(_body(request_))
    assert values.pop("id") == request_.request_id
    assert values.pop("traceparent", "") == request_.traceparent
    assert SpeechRequest.from_tensors(values) == SpeechRequest.from_tensors(request_.to_tensors())
