"""Invalid input: each is a clear error in OpenAI's format that names the field, and the next request works."""

import json
from typing import Any

import httpx2
import openai
import pytest

from tests.support.fake_stack import FakeStack
from tests.support.replies import check, wav

GOOD = {"model": "tts-1", "voice": "alloy", "input": "Hello."}
CLONE = "/v1/audio/speech/clone"


@pytest.fixture(autouse=True)
def _the_next_request_works(stack: FakeStack) -> Any:
    yield
    reply = httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json=GOOD, timeout=30)
    assert reply.status_code == 200
    assert reply.content


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": " \n\t"}, "input"),
        ({"input": 3}, "input"),
        ({"input": None}, "input"),
        ({"input": ["a"]}, "input"),
        ({"input": "x" * 100_001}, "input"),
        ({"voice": 3}, "voice"),
        ({"voice": {"name": "x"}}, "voice"),
        ({"model": 1}, "model"),
        ({"response_format": "midi"}, "response_format"),
        ({"response_format": 7}, "response_format"),
        ({"speed": 9}, "speed"),
        ({"speed": 0.1}, "speed"),
        ({"speed": "fast"}, "speed"),
        ({"speed": True}, "speed"),
        ({"stream_format": "video"}, "stream_format"),
        ({"language": "klingon"}, "language"),
        ({"instructions": "x" * 4097}, "instructions"),
        ({"seed": 1.5}, "seed"),
        ({"seed": 2**70}, "seed"),
    ],
    ids=str,
)
def test_a_wrong_field_is_a_400_that_names_it(stack: FakeStack, change: dict[str, Any], param: str) -> None:
    reply = httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json={**GOOD, **change}, timeout=30)
    assert check(reply, 400, param)


@pytest.mark.parametrize("field", ["input", "voice", "model", "language", "response_format", "instructions"])
def test_half_of_a_surrogate_pair_is_a_400_that_names_the_field(stack: FakeStack, field: str) -> None:
    body = json.dumps({**GOOD, field: "Hello \ud800"})
    headers = {"Content-Type": "application/json"}
    reply = httpx2.post(f"{stack.frontend.url}/v1/audio/speech", content=body, headers=headers, timeout=30)
    check(reply, 400, field)


def test_a_negative_seed_works(stack: FakeStack) -> None:
    reply = httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json={**GOOD, "seed": -1}, timeout=30)
    assert reply.status_code == 200


def test_a_missing_input_is_a_400_that_names_it(stack: FakeStack) -> None:
    reply = httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json={"model": "tts-1"}, timeout=30)
    check(reply, 400, "input", "missing_required_parameter")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff\xfe", b"null"])
def test_a_body_that_is_no_json_object_is_a_400(stack: FakeStack, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    reply = httpx2.post(f"{stack.frontend.url}/v1/audio/speech", content=body, headers=headers, timeout=30)
    check(reply, 400, None)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_json_of_another_content_type_is_an_error_that_names_the_right_one(stack: FakeStack, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    reply = httpx2.post(f"{stack.frontend.url}/v1/audio/speech", content=json.dumps(GOOD), headers=headers, timeout=30)
    assert "Content-Type: application/json" in check(reply, 415, None, "unsupported_media_type")


def test_an_unknown_model_is_a_404_that_lists_the_models(stack: FakeStack) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        stack.frontend.openai().audio.speech.create(model="tts-9", voice="alloy", input="Hello.")
    assert error.value.code == "model_not_found"
    assert error.value.param == "model"
    assert "tts-1" in error.value.message
    assert error.value.request_id


def test_unknown_routes_and_methods_keep_the_shape(stack: FakeStack) -> None:
    check(httpx2.get(f"{stack.frontend.url}/v1/nothing"), 404, None)
    check(httpx2.get(f"{stack.frontend.url}/v1/audio/speech"), 405, None)


def test_a_json_body_over_the_limit_is_a_413(stack: FakeStack) -> None:
    body = json.dumps({**GOOD, "input": "x" * (stack.frontend.settings.max_body_bytes + 1)})
    headers = {"Content-Type": "application/json"}
    reply = httpx2.post(f"{stack.frontend.url}/v1/audio/speech", content=body, headers=headers, timeout=30)
    check(reply, 413, None, "request_too_large")


def test_a_body_over_the_limit_without_a_declared_length_is_a_413(stack: FakeStack) -> None:
    def pieces() -> Any:
        for _ in range(stack.frontend.settings.max_body_bytes // 65_536 + 2):
            yield b" " * 65_536

    headers = {"Content-Type": "application/json"}
    reply = httpx2.post(f"{stack.frontend.url}/v1/audio/speech", content=pieces(), headers=headers, timeout=30)
    check(reply, 413, None, "request_too_large")


@pytest.mark.parametrize(
    "upload",
    [b"", b"This is a text file, not a recording.", wav(0), wav(0.4), wav(70), wav(2, hz=0)],
    ids=["empty", "text file", "0 seconds", "too short", "too long", "silent"],
)
def test_an_unusable_reference_is_a_400_that_names_it(stack: FakeStack, upload: bytes) -> None:
    reply = httpx2.post(
        stack.frontend.url + CLONE, data={"input": "Hello."}, files={"ref_audio": ("voice.wav", upload)}, timeout=30
    )
    assert check(reply, 400, "ref_audio")


def test_a_clone_without_a_recording_is_a_400(stack: FakeStack) -> None:
    reply = httpx2.post(stack.frontend.url + CLONE, data={"input": "Hello."}, timeout=30)
    check(reply, 400, "ref_audio", "missing_required_parameter")


def test_an_upload_over_the_limit_is_a_413_and_one_at_the_limit_is_read(stack: FakeStack) -> None:
    limit = stack.frontend.settings.max_upload_bytes
    fields = {"input": "Hello. " * 10_000}
    for size, status, code in ((limit + 1, 413, "request_too_large"), (limit, 400, "invalid_reference_audio")):
        files = {"ref_audio": ("voice.wav", b"\0" * size)}
        reply = httpx2.post(stack.frontend.url + CLONE, data=fields, files=files, timeout=60)
        check(reply, status, "ref_audio", code)


def test_a_request_far_over_the_limit_is_not_even_read(stack: FakeStack) -> None:
    upload = b"\0" * (stack.frontend.settings.max_body_bytes + 1)
    reply = httpx2.post(
        stack.frontend.url + CLONE, data={"input": "Hello."}, files={"ref_audio": ("voice.wav", upload)}, timeout=60
    )
    check(reply, 413, None, "request_too_large")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": ""}, "input"),
        ({"speed": "9"}, "speed"),
        ({"response_format": "x"}, "response_format"),
        ({"seed": str(2**70)}, "seed"),
        ({"ref_text": "x" * 4097}, "ref_text"),
    ],
)
def test_a_wrong_form_field_is_a_400_that_names_it(stack: FakeStack, change: dict[str, str], param: str) -> None:
    form = {"input": "Hello.", **change}
    reply = httpx2.post(stack.frontend.url + CLONE, data=form, files={"ref_audio": ("voice.wav", wav(2))}, timeout=30)
    check(reply, 400, param)


def test_cloning_on_a_model_that_cannot_is_a_400_that_says_why(stack: FakeStack) -> None:
    form = {"input": "Hello.", "model": "qwen3_tts_custom_voice"}
    reply = httpx2.post(stack.frontend.url + CLONE, data=form, files={"ref_audio": ("voice.wav", wav(2))}, timeout=30)
    assert "qwen3_tts_base" in check(reply, 400, "model", "unsupported_task")


def test_speaking_without_a_reference_on_a_cloning_model_is_a_400_that_says_why(stack: FakeStack) -> None:
    reply = httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json={**GOOD, "model": "qwen3_tts_base"}, timeout=30)
    assert "clone" in check(reply, 400, "model", "unsupported_task")


def test_a_voice_design_without_a_description_is_a_400_that_says_so(stack: FakeStack) -> None:
    request = {**GOOD, "model": "qwen3_tts_voice_design"}
    reply = httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json=request, timeout=30)
    check(reply, 400, "instructions")


def test_fields_that_clients_invent_are_ignored(stack: FakeStack) -> None:
    request = {**GOOD, "backend": "x", "stream": True, "instructions": "", "user": {"a": 1}}
    assert httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json=request, timeout=30).status_code == 200


def test_the_clients_own_request_id_is_kept_where_it_is_sane(stack: FakeStack) -> None:
    kept = httpx2.get(f"{stack.frontend.url}/v1/models", headers={"x-request-id": "abc-123"})
    replaced = httpx2.get(f"{stack.frontend.url}/v1/models", headers={"x-request-id": "a b\tc" * 50})
    assert kept.headers["x-request-id"] == "abc-123"
    assert replaced.headers["x-request-id"].startswith("req_")
