"""Word times of the embedded voice, compared with a recogniser's alignment of the same audio."""

import base64
import json
from itertools import pairwise
from typing import Any

import httpx2
import numpy as np
import pytest

from tests.openai_frontend.api.test_errors import check
from tests.support.listening import align, decode
from tests.support.stack import Stack

SENTENCES = (
    "The children are playing in the garden.",
    "She bought seven red apples at the market.",
    "Winter was late, and the river stayed open.",
    "He wrote a long letter to his mother yesterday.",
    "Nothing is as warm as a kitchen in the morning.",
    "The old man sat by the window and read a book.",
    "They walked along the beach until it was dark.",
    "My brother works in a small town near the sea.",
    "We had dinner with our friends last night.",
    "The train left the station ten minutes ago.",
    "Please close the door when you leave the room.",
    "A dog was sleeping in front of the fire.",
    "He could not remember the name of the street.",
    "The teacher gave every student a new book.",
    "It will probably rain again tomorrow afternoon.",
    "I have never seen such a beautiful mountain.",
    "The doctor told him to stay in bed for a week.",
    "People from many countries live in this city.",
    "She opened the box and found a silver ring.",
    "The music was so loud that we could not talk.",
)
RATE_HZ = 24_000


def speak(stack: Stack, path: str = "/v1/audio/speech", **fields: Any) -> httpx2.Response:
    body = {"model": "hibari", "response_format": "pcm", "seed": 3, **fields}
    return httpx2.post(f"{stack.frontend.url}{path}", json=body, timeout=120)


def events(stack: Stack, **fields: Any) -> list[dict[str, Any]]:
    reply = speak(stack, stream_format="sse", timestamp_granularities=["word"], **fields)
    assert reply.status_code == 200, reply.text
    return [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")]


def words_of(received: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [word for event in received for word in event.get("words", ())]


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.5])
def test_words_are_where_a_recogniser_hears_them(stack: Stack, speed: float) -> None:
    errors_s = []
    for sentence in SENTENCES:
        received = events(stack, input=sentence, speed=speed)
        words = words_of(received)
        assert " ".join(word["word"] for word in words) == sentence
        pcm = b"".join(base64.b64decode(event.get("audio", "")) for event in received)
        heard = align(decode(pcm, "pcm"), sentence)
        if len(heard) == len(words):  # fast speech may be too short for a word of the recogniser's
            errors_s += [abs(word["start"] - start_s) for word, (_, start_s, _) in zip(words, heard, strict=True)]
    assert len(errors_s) > 100
    assert np.mean(errors_s) <= 0.1, errors_s


def test_words_of_a_long_text_come_in_order_before_their_audio_and_within_it(stack: Stack) -> None:
    text = " [pause:0.5s] ".join([" ".join(SENTENCES[:5])] * 4)
    sent_s = 0.0
    words = []
    for event in events(stack, input=text):
        for word in event.get("words", ()):
            assert word["start"] >= sent_s - 0.05  # not later than the audio that it is in
            words.append(word)
        sent_s += len(base64.b64decode(event.get("audio", ""))) / 2 / RATE_HZ
    assert [word["word"] for word in words] == " ".join([" ".join(SENTENCES[:5])] * 4).split()
    assert all(one["end"] <= other["start"] + 0.001 for one, other in pairwise(words))
    assert 0 <= words[0]["start"] < words[-1]["end"] <= sent_s + 0.05


def test_a_whole_reply_has_its_words_in_a_header_or_says_that_they_do_not_fit(stack: Stack) -> None:
    reply = speak(stack, input=SENTENCES[0], word_timestamps=True, response_format="wav")
    words = json.loads(reply.headers["x-word-timestamps"])
    assert [word["word"] for word in words] == SENTENCES[0].split()
    assert reply.content[:4] == b"RIFF"
    long = speak(stack, input=" ".join(SENTENCES * 2), word_timestamps=True)
    assert "x-word-timestamps" not in long.headers
    assert long.headers["x-word-timestamps-omitted"]
    assert long.content


@pytest.mark.parametrize("stream", [True, False])
def test_captioned_speech_is_kokoros(stack: Stack, stream: bool) -> None:
    text = " ".join(SENTENCES[:2])
    reply = speak(stack, "/dev/captioned_speech", input=text, stream=stream, response_format="mp3")
    assert reply.status_code == 200, reply.text
    objects = [json.loads(line) for line in reply.text.splitlines()] if stream else [reply.json()]
    assert {each["audio_format"] for each in objects} == {"audio/mpeg"}
    assert b"".join(base64.b64decode(each["audio"]) for each in objects)[:1] == b"\xff"
    words = [word for each in objects for word in each["timestamps"]]
    assert [word["word"] for word in words] == text.split()
    assert all(0 <= word["start_time"] < word["end_time"] for word in words)


def test_a_model_without_word_times_is_a_400_that_names_the_field(stack: Stack) -> None:
    for fields, param in (
        ({"word_timestamps": True}, "word_timestamps"),
        ({"timestamp_granularities": ["word"], "stream_format": "sse"}, "timestamp_granularities"),
    ):
        reply = speak(stack, input="Hello.", **{**fields, "model": "qwen3_tts_custom_voice"})
        assert "hibari" in check(reply, 400, param, "unsupported_parameter")
    check(speak(stack, input="Hi.", word_timestamps=True, stream_format="sse"), 400, "word_timestamps")
    check(speak(stack, input="a " * 3000, word_timestamps=True), 400, "word_timestamps", "string_above_max_length")
