"""OpenAI's speech API row by row (docs/openai-api.md), over real sockets; other tests check the content of the
audio."""

import base64
import io
import json
import re
import socket
import time
import uuid
import wave
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest

from openai_frontend.voices.names import OPENAI_VOICES, SPEAKERS
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE_HZ
from tests.support.limits import frozen_limits
from tests.support.listening import decode
from tests.support.replies import check
from tests.support.stack import Frontend, Gate, Stack
from tests.support.waiting import eventually

GOOD: dict[str, Any] = {"model": "tts-1", "voice": "alloy", "input": "Hello there."}
TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
SPEEDS = (0.25, 1.0, 4.0)
LEAD_SAMPLES = int(0.1 * SAMPLE_RATE_HZ)


def speak(stack: Stack, **fields: Any) -> httpx2.Response:
    return httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json={**GOOD, **fields}, timeout=60)


def with_all_silence(stack: Stack) -> bytes:
    """The PCM of seed 7 as the model made it."""
    settings = {"default_model": "hibari", "idle_timeout": 0, "max_leading_silence": 10}
    body = {**GOOD, "response_format": "pcm", "seed": 7}
    with Frontend(triton_url=stack.triton.url, **settings) as frontend:
        return httpx2.post(f"{frontend.url}/v1/audio/speech", json=body, timeout=60).content


def events(reply: httpx2.Response) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")]


# Fields


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("stream_format", ["audio", "sse"])
@pytest.mark.parametrize("response_format", TYPES)
def test_every_format_comes_as_bytes_and_as_events_at_every_speed(
    stack: Stack, response_format: str, stream_format: str, speed: float
) -> None:
    how = {"response_format": response_format, "speed": speed, "seed": 7}
    reply = speak(stack, **how, stream_format=stream_format)
    assert reply.status_code == 200
    data = reply.content
    if stream_format == "sse":
        assert reply.headers["content-type"].startswith("text/event-stream")
        *deltas, done = events(reply)
        assert {(delta["type"], type(delta["audio"])) for delta in deltas} == {("speech.audio.delta", str)}
        assert done["type"] == "speech.audio.done"
        data = b"".join(base64.b64decode(delta["audio"]) for delta in deltas)
    else:
        assert reply.headers["content-type"] == TYPES[response_format]
    plain = len(speak(stack, response_format="pcm", seed=7).content) / SAMPLE_BYTES
    # Formats may differ by half a codec frame at most. At high speed, the leading silence is too short for the priming
    # of mp3 and aac.
    priming = 1_393 if speed > 1 and response_format in ("mp3", "aac") else 0
    assert len(decode(data, response_format)) == pytest.approx(plain / speed + priming / 2, abs=600 + priming / 2)


def test_a_reply_begins_with_its_first_sound_unless_it_is_to_keep_its_silence(stack: Stack) -> None:
    reply, whole = speak(stack, response_format="pcm", seed=7).content, with_all_silence(stack)
    silence = whole.removesuffix(reply)
    assert len(silence) == len(whole) - len(reply) > 0
    assert np.abs(np.frombuffer(silence + reply[: LEAD_SAMPLES * SAMPLE_BYTES], "<i2").astype(int)).max() <= 32
    assert abs(int(np.frombuffer(reply, "<i2")[LEAD_SAMPLES])) > 32


def test_the_default_is_mp3_as_bytes_at_natural_speed(stack: Stack) -> None:
    reply = speak(stack, seed=7)
    assert reply.headers["content-type"] == "audio/mpeg"
    assert reply.content == speak(stack, seed=7, response_format="mp3", speed=1, stream_format="audio").content


@pytest.mark.parametrize("voice", [*OPENAI_VOICES, *(speaker.name for speaker in SPEAKERS), "Alloy"])
@pytest.mark.parametrize("shape", [str, lambda name: {"id": name}], ids=["string", "object"])
def test_every_voice_speaks_by_its_name_or_as_an_object(stack: Stack, voice: str, shape: Callable[[str], Any]) -> None:
    reply = speak(stack, voice=shape(voice), input="Yes.", response_format="pcm")
    assert reply.status_code == 200
    assert reply.content


@pytest.mark.parametrize(
    "model",
    [
        *("tts-1", "tts-1-hd", "gpt-4o-mini-tts", "qwen3-tts", "hibari", "hibari-tts", "house-model"),
        *("tts-1-1106", "tts-1-hd-1106", "gpt-4o-mini-tts-2025-03-20", "gpt-4o-mini-tts-2025-12-15"),
    ],
)
def test_every_name_of_a_model_speaks_and_can_be_looked_up(stack: Stack, model: str) -> None:
    with Frontend(
        triton_url=stack.triton.url, default_model="hibari", idle_timeout=0, model_names={"house-model": "hibari"}
    ) as frontend:
        client = frontend.openai()
        assert client.audio.speech.create(**{**GOOD, "model": model}).read()
        assert client.models.retrieve(model).id == model


@pytest.mark.parametrize("instructions", ["", None, "x" * 4096], ids=["empty", "null", "longest"])
def test_instructions_may_be_empty_or_long(stack: Stack, instructions: str | None) -> None:
    assert speak(stack, instructions=instructions).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [{"stream": True}, {"stream": "yes"}, {"backend": "x"}, {"user": 7}, {"lang_code": "en"}, {"volume_multiplier": 2}],
    ids=str,
)
def test_a_field_that_clients_invent_is_ignored(stack: Stack, fields: dict[str, Any]) -> None:
    assert speak(stack, **fields, seed=7).content == speak(stack, seed=7).content


# The reply


@pytest.mark.parametrize("accept", ["application/octet-stream", "audio/wav", "text/html", "*/*"])
def test_the_type_follows_the_format_and_never_the_accept_header(stack: Stack, accept: str) -> None:
    reply = httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json=GOOD, headers={"Accept": accept}, timeout=60)
    assert reply.headers["content-type"] == "audio/mpeg"


@pytest.mark.parametrize("speed", [1.0, 1.3])
def test_every_piece_of_pcm_is_whole_samples(stack: Stack, speed: float) -> None:
    pieces = http_chunks(stack, {**GOOD, "response_format": "pcm", "speed": speed, "seed": 7})
    assert all(len(piece) % SAMPLE_BYTES == 0 for piece in pieces)
    assert b"".join(pieces) == speak(stack, response_format="pcm", speed=speed, seed=7).content


def http_chunks(stack: Stack, body: dict[str, Any]) -> list[bytes]:
    """The reply's body as the server split it; clients hide that, and the network splits anywhere."""
    payload = json.dumps(body).encode()
    head = (
        f"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(payload)}\r\n"
    )
    with socket.create_connection(("127.0.0.1", stack.frontend.settings.port), timeout=60) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + payload)
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    _, _, rest = received.partition(b"\r\n\r\n")
    chunks = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        chunks.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    return chunks


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
def test_there_is_no_status_before_the_first_audio(stack: Stack, tmp_path: Path, stream_format: str) -> None:
    name = f"t{uuid.uuid4().hex[:8]}"
    with ThreadPoolExecutor(1) as threads, Gate(tmp_path) as gate:
        script = json.dumps({"name": name, "chunks": 2, "gate": str(gate), "gate_before": 1})
        body = {**GOOD, "model": "scripted", "input": script, "stream_format": stream_format}
        head = threads.submit(status_of, f"{stack.frontend.url}/v1/audio/speech", body)
        eventually(lambda: f"{name} begins" in stack.script_log(), "the engine has begun")
        eventually(lambda: stack.frontend.health()["pending_requests"] > 0, "the request is being served")
        assert not head.done()
        gate.open()
        assert head.result(timeout=30) == 200


def status_of(url: str, body: dict[str, Any]) -> int:
    """The status, as soon as it is known."""
    with httpx2.stream("POST", url, json=body, timeout=60) as reply:
        return reply.status_code


@pytest.mark.parametrize("speed", [1.0, 2.0])
def test_the_usage_counts_the_tokens_of_the_text_and_the_frames_of_the_audio(stack: Stack, speed: float) -> None:
    usage = events(speak(stack, stream_format="sse", speed=speed, seed=7))[-1]["usage"]
    samples = len(with_all_silence(stack)) / SAMPLE_BYTES
    assert usage["output_tokens"] == -(-samples // FRAME_SAMPLES)
    longer = events(speak(stack, stream_format="sse", input=2 * GOOD["input"]))[-1]["usage"]
    assert 0 < usage["input_tokens"] < longer["input_tokens"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_a_wav_can_be_sent_whole_with_its_true_sizes(stack: Stack) -> None:
    settings = {"default_model": "hibari", "idle_timeout": 0, "whole_wav_seconds": 60}
    pcm = speak(stack, response_format="pcm", seed=7).content
    with Frontend(triton_url=stack.triton.url, **settings) as frontend:
        for rate_hz in (24_000, 48_000):
            body = {**GOOD, "response_format": "wav", "seed": 7, "sample_rate": rate_hz}
            data = httpx2.post(f"{frontend.url}/v1/audio/speech", json=body, timeout=60).content
            with wave.open(io.BytesIO(data)) as file:
                assert file.getframerate() == rate_hz
                assert len(file.readframes(file.getnframes())) == len(data) - 44
                assert file.getnframes() == pytest.approx(len(pcm) / SAMPLE_BYTES * rate_hz / 24_000, abs=100)


def test_an_utterance_that_is_cut_still_counts_its_tokens(stack: Stack) -> None:
    usage = events(speak(stack, stream_format="sse", max_new_tokens=3))[-1]["usage"]
    assert usage["output_tokens"] == 3
    assert usage["input_tokens"] > 0


# Errors and headers


@pytest.mark.parametrize(
    ("fields", "error", "code", "param"),
    [
        ({"input": ""}, openai.BadRequestError, "empty_input", "input"),
        ({"input": "x" * 1_000_000}, openai.BadRequestError, "string_above_max_length", "input"),
        ({"input": openai.omit}, openai.BadRequestError, "missing_required_parameter", "input"),
        ({"voice": "nobody"}, openai.BadRequestError, "unknown_speaker", "voice"),
        ({"voice": 5}, openai.BadRequestError, "invalid_type", "voice"),
        ({"model": "tts-9"}, openai.NotFoundError, "model_not_found", "model"),
        ({"response_format": "midi"}, openai.BadRequestError, "invalid_value", "response_format"),
        ({"speed": 4.1}, openai.BadRequestError, "invalid_value", "speed"),
        ({"stream_format": "ws"}, openai.BadRequestError, "invalid_value", "stream_format"),
        ({"instructions": "x" * 4097}, openai.BadRequestError, "string_above_max_length", "instructions"),
        ({"extra_body": {"language": "klingon"}}, openai.BadRequestError, "invalid_value", "language"),
        ({"extra_body": {"language": "german"}}, openai.BadRequestError, "unsupported_language", "language"),
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", str(value))[:50],
)
def test_an_error_reaches_the_client_with_code_param_and_request_id(
    stack: Stack, fields: dict[str, Any], error: type[openai.APIStatusError], code: str, param: str
) -> None:
    with pytest.raises(error) as raised:
        stack.frontend.openai().audio.speech.create(**{**GOOD, **fields})
    assert (raised.value.code, raised.value.param) == (code, param)
    assert raised.value.request_id
    assert raised.value.type == "invalid_request_error"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_none_is_a_400(stack: Stack, number: str) -> None:
    body = json.dumps(GOOD)[:-1] + f', "speed": {number}}}'
    headers = {"Content-Type": "application/json"}
    check(httpx2.post(f"{stack.frontend.url}/v1/audio/speech", content=body, headers=headers), 400, "speed")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/nothing/at/all", 404, "not_found"),
        ("GET", "/v1/audio/speech", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("PUT", "/v1/audio/speech", 405, "method_not_allowed"),
    ],
)
def test_an_unknown_path_or_method_has_the_shape_too(
    stack: Stack, method: str, path: str, status: int, code: str
) -> None:
    reply = httpx2.request(method, stack.frontend.url + path)
    check(reply, status, None, code)
    assert ("allow" in reply.headers) == (status == 405)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/absent", "/v1/nothing", "/health", "/", "/static/page.js"])
def test_every_reply_has_a_request_id_and_the_time_it_took(stack: Stack, path: str) -> None:
    reply = httpx2.get(stack.frontend.url + path, headers={"x-request-id": "mine-1"})
    assert reply.headers["x-request-id"] == "mine-1"
    assert int(reply.headers["openai-processing-ms"]) >= 0


def test_speech_has_a_request_id_that_the_client_shows(stack: Stack) -> None:
    with stack.frontend.openai().audio.speech.with_streaming_response.create(**GOOD) as reply:
        assert (reply.request_id or "").startswith("req_")
        assert int(reply.headers["openai-processing-ms"]) >= 0


def test_the_client_waits_for_retry_after_and_retries(stack: Stack) -> None:
    seen: list[tuple[int, float]] = []

    def note(reply: httpx2.Response) -> None:
        seen.append((reply.status_code, time.monotonic()))
        clock.now_s += 1  # the wait for one request of sixty a minute

    settings: dict[str, Any] = {"triton_url": stack.triton.url, "default_model": "hibari", "idle_timeout": 0}
    with (
        frozen_limits() as clock,
        Frontend(**settings, requests_per_minute=60) as frontend,
        httpx2.Client(event_hooks={"response": [note]}) as http,
    ):
        for _ in range(60):  # what is refused counts, too
            assert httpx2.post(f"{frontend.url}/v1/audio/speech", json={}).status_code == 400
        client = frontend.openai(http_client=http).with_options(max_retries=2)
        assert client.audio.speech.create(**GOOD).read()
    (first, refused_s), (second, served_s) = seen
    assert (first, second) == (429, 200)
    assert served_s - refused_s > 0.9  # a second, as Retry-After says; by itself the client waits for half of one


def test_a_failure_that_would_only_repeat_tells_the_client_not_to_try_again(stack: Stack) -> None:
    client = stack.frontend.openai().with_options(max_retries=2)
    # No such checkpoint can be had in a test, however often one asks.
    with pytest.raises(openai.InternalServerError) as raised:
        client.audio.speech.create(**{**GOOD, "model": "qwen3_tts_custom_voice", "voice": "vivian"})
    assert raised.value.status_code == 503
    assert raised.value.code == "checkpoint_unavailable"
    assert raised.value.response.headers["x-should-retry"] == "false"


# Lists, and paths without /v1


def test_models_are_listed_in_openais_shape(stack: Stack) -> None:
    reply = httpx2.get(f"{stack.frontend.url}/v1/models").json()
    assert reply["object"] == "list"
    assert {"tts-1", "tts-1-hd", "gpt-4o-mini-tts", "qwen3-tts", "hibari"} <= {row["id"] for row in reply["data"]}
    for row in reply["data"]:
        assert {"id", "object", "created", "owned_by"} <= set(row)
        assert (row["object"], type(row["created"])) == ("model", int)


def test_a_model_whose_id_holds_a_slash_can_be_looked_up(stack: Stack) -> None:
    for model in stack.frontend.openai().models.list():
        assert stack.frontend.openai().models.retrieve(model.id).id == model.id
    assert "Qwen/Qwen3-TTS-12Hz-0.6B-Base" in {model.id for model in stack.frontend.openai().models.list()}


@pytest.mark.parametrize(
    "path", ["/models", "/models/tts-1", "/audio/models", "/audio/voices", "/audio/languages", "/test"]
)
def test_every_list_is_there_without_the_v1_too(stack: Stack, path: str) -> None:
    assert httpx2.get(stack.frontend.url + path).json() == httpx2.get(f"{stack.frontend.url}/v1{path}").json()


def test_speech_is_there_without_the_v1_too(stack: Stack) -> None:
    client = openai.OpenAI(base_url=stack.frontend.url, api_key="unused", max_retries=0)
    assert client.audio.speech.create(**GOOD).read()
