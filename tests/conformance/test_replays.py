"""Requests of applications that cannot be installed here, copied from their sources, and their handling of the
reply."""

import io
import struct
import wave
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import av
import httpx2
import openai
import pytest

from tests.support.listening import decode, transcribe, word_error_rate, words
from tests.support.stack import Frontend, Stack

SENTENCES = (
    "There is nothing better than a good cup of coffee.",
    "The children are playing in the garden behind the house.",
    "My brother wants to buy a new car before the summer.",
)
KEYS = {"Authorization": "Bearer sk-0123456789"}
MP3_FRAME_SAMPLES = 576  # of MPEG-2 at 24 kHz


def post(stack: Stack, body: dict[str, Any], headers: dict[str, str] | None = None) -> httpx2.Response:
    reply = httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json=body, headers=headers, timeout=60)
    assert reply.status_code == 200, reply.text
    return reply


def hears(data: bytes, response_format: str, text: str) -> None:
    heard = transcribe(decode(data, response_format))
    assert word_error_rate(heard, words(text)) <= 0.1, heard


def test_open_webui_lists_without_a_key_and_speaks_with_one(stack: Stack) -> None:
    with Frontend(triton_url=stack.triton.url, default_model="hibari", api_keys="sk-0123456789") as frontend:
        models = httpx2.get(f"{frontend.url}/v1/audio/models", timeout=5).json()["models"]
        voices = httpx2.get(f"{frontend.url}/v1/audio/voices", timeout=5).json()["voices"]
        names = {voice["id"]: voice["name"] for voice in voices}
        headers = {**KEYS, "X-OpenWebUI-User-Name": "Ann", "X-OpenWebUI-User-Role": "user"}
        body = {"input": SENTENCES[0], "voice": "alloy", "model": models[0]["id"]}
        reply = httpx2.post(f"{frontend.url}/v1/audio/speech", json=body, headers=headers, timeout=60)
    assert "alloy" in names
    assert reply.status_code == 200
    hears(reply.content, "mp3", SENTENCES[0])


def test_librechat_joins_bodies_without_a_gap_or_a_tag_between_them(stack: Stack) -> None:
    """Long text is cut, each part is a request of its own, and the MP3 bodies are written one after another."""
    ask = {"model": "tts-1", "voice": "nova", "backend": "tts"}
    bodies = [post(stack, {**ask, "input": text, "seed": 7}, KEYS).content for text in SENTENCES]
    for body in bodies:
        assert body[0] == 0xFF  # a frame's sync word
        assert not any(tag in body for tag in (b"ID3", b"Xing", b"Info"))
    joined = b"".join(bodies)
    with av.open(io.BytesIO(joined)) as file:
        packets = [packet for packet in file.demux(audio=0) if packet.size]
        # Every byte belongs to a frame: a player finds nothing to skip, and all frames have the same length.
        assert sum(packet.size for packet in packets) == len(joined)
        assert {packet.duration for packet in packets} == {packets[0].duration}
    # Exactly the frames of the separate bodies.
    apart = sum(len(decode(body, "mp3")) for body in bodies)
    assert len(decode(joined, "mp3")) == pytest.approx(apart, abs=MP3_FRAME_SAMPLES)
    hears(joined, "mp3", " ".join(SENTENCES))


@pytest.mark.parametrize("headers", [{"Authorization": "Bearer "}, KEYS], ids=["no key", "a key"])
def test_sillytavern_speaks_with_a_voice_typed_by_hand(stack: Stack, headers: dict[str, str]) -> None:
    body = {"input": SENTENCES[1], "response_format": "mp3", "voice": "Nova", "speed": 1, "model": "tts-1"}
    raw = {name: value.strip() if value.strip() == "Bearer" else value for name, value in headers.items()}
    hears(post(stack, body, raw).content, "mp3", SENTENCES[1])


def test_wyoming_openai_reads_the_header_out_of_the_first_chunk_with_three_requests_at_once(stack: Stack) -> None:
    def speak(text: str) -> tuple[bytes, bytes]:
        client = openai.OpenAI(base_url=f"{stack.frontend.url}/v1", api_key="unused", max_retries=0)
        create = client.audio.speech.with_streaming_response.create
        with create(model="tts-1", voice="alloy", input=text, response_format="wav", speed=1.0) as reply:
            first, *rest = reply.iter_bytes(2048)
        return first, b"".join([first, *rest])

    with ThreadPoolExecutor(len(SENTENCES)) as threads:
        replies = list(threads.map(speak, SENTENCES))
    for (first, whole), text in zip(replies, SENTENCES, strict=True):
        with wave.open(io.BytesIO(first)) as header:
            assert (header.getframerate(), header.getnchannels(), header.getsampwidth()) == (24_000, 1, 2)
        # The length of the speech is not known yet: both sizes mean "to the end of the reply".
        assert struct.unpack("<I", first[4:8]) == struct.unpack("<I", first[40:44]) == (0xFFFF_FFFF,)
        assert first[36:40] == b"data"
        hears(whole[44:], "pcm", text)


def test_wyoming_openai_detects_a_server_that_lists_its_voices(stack: Stack) -> None:
    """It asks for the marks of LocalAI, Speaches and Kokoro-FastAPI in this order, all without a key; the third one's
    voices are the ids of a list."""
    with Frontend(triton_url=stack.triton.url, default_model="hibari", api_keys="sk-0123456789") as frontend:
        base = f"{frontend.url}/v1"
        assert httpx2.get(f"{base}/readyz", timeout=5).status_code >= 400
        assert httpx2.get(f"{base}/../../health", timeout=5).text != "OK"
        assert httpx2.get(f"{base}/test", timeout=5).json().get("status") == "ok"
        voices = httpx2.get(f"{base}/audio/voices", timeout=5).json()["voices"]
        names = {voice.get("id") or voice.get("name") for voice in voices}
        assert {"heart", "alloy", "vivian"} <= names
        for name in names:
            body = {"model": "tts-1", "voice": name, "input": "Yes.", "response_format": "wav"}
            assert httpx2.post(f"{base}/audio/speech", json=body, headers=KEYS, timeout=60).status_code == 200, name


def test_home_assistants_openai_tts_sends_instructions_that_may_be_empty(stack: Stack) -> None:
    body = {"model": "tts-1", "input": SENTENCES[2], "voice": "shimmer", "response_format": "mp3", "speed": 1.0}
    hears(post(stack, {**body, "instructions": ""}, KEYS).content, "mp3", SENTENCES[2])


def test_a_list_of_voices_may_be_for_one_model_and_as_plain_strings(stack: Stack) -> None:
    url = f"{stack.frontend.url}/v1/audio/voices"
    assert "alloy" in [voice["id"] for voice in httpx2.get(url, params={"model": "tts-1"}).json()["voices"]]
    assert "alloy" in httpx2.get(url, params={"legacy": "true"}).json()["voices"]
