"""`timestamp_granularities`: the start of each segment of a long text in an event stream."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from openai_frontend.synthesis.script import Silence, write_script
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from tests.support.fake_models import tone
from tests.support.fake_triton import FakeTriton
from tests.support.replies import check
from tests.support.stack import Frontend

LONG = "\n\n".join(f"Paragraph {number} begins here. " + "It goes on for a while. " * 9 for number in range(1, 4))
CHUNKS = 10


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with FakeTriton("qwen3_tts_custom_voice") as triton:
        triton.chunks = CHUNKS
        triton.chunk = tone()
        voices: Path = tmp_path_factory.mktemp("voices")
        settings = {"default_model": "qwen3_tts_custom_voice", "idle_timeout": 0, "voices_folder": str(voices)}
        with Frontend(triton_url=triton.url, **settings) as frontend:
            yield f"{frontend.url}/v1/audio/speech"


def events(speech: str, **fields: Any) -> list[dict[str, Any]]:
    body = {"input": LONG, "response_format": "pcm", "stream_format": "sse", **fields}
    reply = httpx2.post(speech, json=body, timeout=60)
    assert reply.status_code == 200, reply.text
    return [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")]


@pytest.mark.parametrize("speed", [1.0, 2.0])
def test_each_segment_comes_with_its_text_and_the_time_at_which_it_begins(speech: str, speed: float) -> None:
    script = write_script(LONG)
    texts = [part for part in script if isinstance(part, str)]
    received = events(speech, speed=speed, timestamp_granularities=["segment"])
    segments = [each for event in received for each in event.get("segments", ())]
    assert [each["text"] for each in segments] == texts
    assert [(each["id"], each["count"]) for each in segments] == [(i, len(texts)) for i in range(len(texts))]
    pauses_s = [part.samples / SAMPLE_RATE_HZ for part in script if isinstance(part, Silence)]
    spoken_s = CHUNKS * FRAME_SAMPLES / SAMPLE_RATE_HZ
    expected_s = [sum(pauses_s[:i]) / speed + i * spoken_s / speed for i in range(len(texts))]
    assert [each["start"] for each in segments] == pytest.approx(expected_s, abs=0.1)


def test_a_segment_is_announced_before_its_audio(speech: str) -> None:
    heard_s = 0.0
    for event in events(speech, timestamp_granularities=["segment"]):
        for segment in event.get("segments", ()):
            assert segment["start"] == pytest.approx(heard_s, abs=0.05)
        heard_s += len(base64.b64decode(event.get("audio", ""))) / 2 / SAMPLE_RATE_HZ


def test_timestamps_are_sent_only_on_request(speech: str) -> None:
    for fields in ({}, {"timestamp_granularities": None}, {"timestamp_granularities": []}):
        assert {event["type"] for event in events(speech, **fields)} == {"speech.audio.delta", "speech.audio.done"}


def test_a_granularity_that_is_not_served_is_refused(speech: str) -> None:
    for value in (["word"], "segment", ["segment"] * 3):
        body = {"input": "Hello.", "timestamp_granularities": value}
        check(httpx2.post(speech, json=body), 400, "timestamp_granularities")
