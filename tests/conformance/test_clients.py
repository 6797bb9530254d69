"""Unmodified third-party clients against the whole stack: they receive the requested speech."""

import asyncio
import base64
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.conformance.conftest import ROOT, Run
from tests.support.http_servers import adding
from tests.support.listening import Samples, decode, transcribe, word_error_rate, words
from tests.support.stack import Stack

SENTENCE = "There is nothing better than a good cup of coffee."
FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
TYPES = ("audio/mpeg", "audio/ogg", "audio/aac", "audio/flac", "audio/wav", "audio/pcm")
ASK: dict[str, Any] = {"model": "gpt-4o-mini-tts", "voice": "coral", "input": SENTENCE}

TIMES = {"timestamp_granularities": ["word", "segment"]}


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


def test_the_python_client_reads_events_with_timestamps_and_their_audio(stack: Stack) -> None:
    client = stack.frontend.openai()
    speech = client.audio.speech.with_streaming_response
    with speech.create(**ASK, response_format="pcm", stream_format="sse", extra_body=TIMES) as reply:
        received = [json.loads(line[6:]) for line in reply.iter_lines() if line.startswith("data: ")]
    deltas = [event["audio"] for event in received if event["type"] == "speech.audio.delta"]
    hears(decode(b"".join(map(base64.b64decode, deltas)), "pcm"))
    # The client's own reader of events.
    body = {**ASK, **TIMES, "response_format": "pcm", "stream_format": "sse"}
    stream = client.post("/audio/speech", body=body, cast_to=object, stream=True, stream_cls=openai.Stream[object])
    events: list[Any] = list(stream)
    assert [event["type"] for event in events] == [event["type"] for event in received]
    assert " ".join(word["word"] for event in events for word in event.get("words", ())) == SENTENCE
    assert [segment["text"] for event in events for segment in event.get("segments", ())] == [SENTENCE]


def test_the_node_client_streams_every_format_and_reads_lists_events_and_errors(
    stack: Stack, node: Run, tmp_path: Path
) -> None:
    seen = node("openai_node.js", f"{stack.frontend.url}/v1", str(tmp_path))
    assert {name: seen["formats"][name]["type"] for name in FORMATS} == dict(zip(FORMATS, TYPES, strict=True))
    for name in FORMATS:
        hears(decode((tmp_path / name).read_bytes(), name))
    assert set(seen["events"][:-1]) == {"speech.audio.delta"}
    assert seen["events"][-1] == "speech.audio.done"
    hears(decode((tmp_path / "timed").read_bytes(), "pcm"))
    assert " ".join(seen["timed"]) == SENTENCE
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


def test_livekits_plugin_ignores_events_with_timestamps(stack: Stack, python_client: Run, tmp_path: Path) -> None:
    file, sent = tmp_path / "speech.pcm", bytearray()
    with adding(stack.frontend.url, TIMES, sent) as url:
        python_client("livekit_speak.py", f"{url}/v1", "gpt-4o-mini-tts", SENTENCE, str(file))
    assert sent.count(b"speech.audio.timestamps") >= 1
    hears(decode(file.read_bytes(), "pcm"))


@pytest.mark.parametrize("voice", ["alloy", "verse"])
def test_pipecats_service_hears_the_words(stack: Stack, python_client: Run, tmp_path: Path, voice: str) -> None:
    file = tmp_path / "speech.pcm"
    seen = python_client("pipecat_speak.py", f"{stack.frontend.url}/v1", voice, SENTENCE, str(file))
    assert seen["rates_hz"] == [24_000]
    assert seen["errors"] == []
    hears(decode(file.read_bytes(), "pcm"))


def test_pipecats_service_hears_the_words_of_a_request_for_timestamps(
    stack: Stack, python_client: Run, tmp_path: Path
) -> None:
    file, sent = tmp_path / "speech.pcm", bytearray()
    with adding(stack.frontend.url, TIMES, sent) as url:
        seen = python_client("pipecat_speak.py", f"{url}/v1", "alloy", SENTENCE, str(file))
    assert seen["errors"] == []
    assert b"speech.audio" not in sent  # it asks for bytes, which have no events
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


def test_the_lines_of_the_documentation_make_both_cartesia_clients(clients: Path) -> None:
    document = (ROOT / "docs/live.md").read_text(encoding="utf-8")
    lines = [each for each in re.findall(r"```python\n(.*?)```", document, re.DOTALL) if "cartesia" in each]
    assert len(lines) == 2
    for each in lines:
        subprocess.run([str(clients / "python"), "-c", each], check=True, capture_output=True, timeout=60)
