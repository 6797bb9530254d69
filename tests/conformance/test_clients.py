"""Unmodified third-party clients against the whole stack: they receive the requested speech."""

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.conformance.conftest import Run
from tests.support.listening import Samples, decode, transcribe, word_error_rate, words
from tests.support.stack import Stack

SENTENCE = "There is nothing better than a good cup of coffee."
FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
TYPES = ("audio/mpeg", "audio/ogg", "audio/aac", "audio/flac", "audio/wav", "audio/pcm")
ASK: dict[str, Any] = {"model": "gpt-4o-mini-tts", "voice": "coral", "input": SENTENCE}


def hears(samples: Samples) -> None:
    heard = transcribe(samples)
    assert word_error_rate(heard, words(SENTENCE)) <= 0.1, heard


@pytest.mark.parametrize("response_format", FORMATS)
def test_the_python_client_writes_a_file(stack: Stack, tmp_path: Path, response_format: Any) -> None:
    reply = stack.frontend.openai().audio.speech.create(**ASK, response_format=response_format)
    reply.write_to_file(tmp_path / "speech")
    hears(decode((tmp_path / "speech").read_bytes(), response_format))


@pytest.mark.parametrize("response_format", FORMATS)
def test_the_python_client_streams_to_a_file(stack: Stack, tmp_path: Path, response_format: Any) -> None:
    speech = stack.frontend.openai().audio.speech
    with speech.with_streaming_response.create(**ASK, response_format=response_format) as reply:
        reply.stream_to_file(tmp_path / "speech")
    hears(decode((tmp_path / "speech").read_bytes(), response_format))


def test_the_asynchronous_python_client_streams_pieces(stack: Stack) -> None:
    async def speak() -> list[bytes]:
        async with openai.AsyncOpenAI(base_url=f"{stack.frontend.url}/v1", api_key="unused", max_retries=0) as client:
            speech = client.audio.speech.with_streaming_response
            async with speech.create(**ASK, response_format="pcm") as reply:
                return [piece async for piece in reply.iter_bytes()]

    pieces = asyncio.run(speak())
    assert len(pieces) > 1
    hears(decode(b"".join(pieces), "pcm"))


def test_the_node_client_streams_every_format_and_reads_lists_events_and_errors(
    stack: Stack, node: Run, tmp_path: Path
) -> None:
    seen = node("openai_node.js", f"{stack.frontend.url}/v1", str(tmp_path))
    assert {name: seen["formats"][name]["type"] for name in FORMATS} == dict(zip(FORMATS, TYPES, strict=True))
    for name in FORMATS:
        hears(decode((tmp_path / name).read_bytes(), name))
    assert set(seen["events"][:-1]) == {"speech.audio.delta"}
    assert seen["events"][-1] == "speech.audio.done"
    assert {"tts-1", "tts-1-hd", "gpt-4o-mini-tts", "hibari"} <= set(seen["models"])
    assert seen["model"] == "tts-1"
    error = seen["error"]
    assert (error["kind"], error["status"]) == ("NotFoundError", 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert error["request"].startswith("req_")


@pytest.mark.parametrize("model", ["gpt-4o-mini-tts", "tts-1"], ids=["events", "bytes"])
def test_livekits_plugin_hears_the_words(stack: Stack, python_client: Run, tmp_path: Path, model: str) -> None:
    file = tmp_path / "speech.pcm"
    seen = python_client("livekit_speak.py", f"{stack.frontend.url}/v1", model, SENTENCE, str(file))
    assert seen["rates_hz"] == [24_000]
    assert seen["requests"]
    assert all(seen["requests"])
    hears(decode(file.read_bytes(), "pcm"))


@pytest.mark.parametrize("voice", ["alloy", "verse"])
def test_pipecats_service_hears_the_words(stack: Stack, python_client: Run, tmp_path: Path, voice: str) -> None:
    file = tmp_path / "speech.pcm"
    seen = python_client("pipecat_speak.py", f"{stack.frontend.url}/v1", voice, SENTENCE, str(file))
    assert seen["rates_hz"] == [24_000]
    assert seen["errors"] == []
    hears(decode(file.read_bytes(), "pcm"))


def test_livekits_cartesia_plugin_streams_a_text_and_receives_word_times(
    stack: Stack, python_client: Run, tmp_path: Path
) -> None:
    file = tmp_path / "speech.pcm"
    seen = python_client("livekit_cartesia.py", stack.frontend.url, "alloy", SENTENCE, str(file))
    assert seen["rates_hz"] == [24_000]
    assert " ".join(seen["words"]).split() == SENTENCE.split()
    hears(decode(file.read_bytes(), "pcm"))


def test_pipecats_cartesia_service_hears_the_words(stack: Stack, python_client: Run, tmp_path: Path) -> None:
    file = tmp_path / "speech.pcm"
    url = stack.frontend.url.replace("http://", "ws://") + "/tts/websocket"
    seen = python_client("pipecat_cartesia.py", url, "alloy", SENTENCE, str(file))
    assert seen["errors"] == []
    assert seen["rates_hz"] == [24_000]
    assert " ".join(seen["words"]).split() == SENTENCE.split()
    hears(decode(file.read_bytes(), "pcm"))
