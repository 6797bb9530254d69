"""Real speech through the whole path, judged by ear: recognised, measured, and compared across formats."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest

from tests.support.listening import Samples, at_speed, decode, median_pitch_hz, transcribe, word_error_rate, words
from tests.support.stack import Stack

FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm", "ogg")
SENTENCES = (
    "There is nothing better than a good cup of coffee.",
    "The children are playing in the garden behind the house.",
    "My brother wants to buy a new car before the summer.",
)
MAX_WORD_ERRORS = 0.10


@cache
def speak(stack: Stack, text: str, response_format: str, speed: float = 1.0) -> Samples:
    """One reply of the real OpenAI client, decoded; the same seed always, so that formats can be compared."""
    reply = stack.frontend.openai().audio.speech.create(
        model="tts-1",
        voice="alloy",
        input=text,
        response_format=response_format,  # type: ignore[arg-type]  # ogg is ours
        speed=speed,
        extra_body={"seed": 7},
    )
    return decode(reply.read(), response_format)


@pytest.mark.parametrize("text", SENTENCES)
@pytest.mark.parametrize("response_format", FORMATS)
def test_every_format_says_the_words_of_the_input(stack: Stack, response_format: str, text: str) -> None:
    heard = transcribe(speak(stack, text, response_format))
    assert word_error_rate(heard, words(text)) <= MAX_WORD_ERRORS, heard


@pytest.mark.parametrize("text", SENTENCES)
def test_durations_agree_within_one_percent_across_formats(stack: Stack, text: str) -> None:
    durations = {name: len(speak(stack, text, name)) for name in FORMATS}
    assert max(durations.values()) <= 1.01 * min(durations.values()), durations


@pytest.mark.parametrize("speed", [0.5, 2.0])
@pytest.mark.parametrize("response_format", FORMATS)
def test_speed_scales_the_duration_and_keeps_the_words_and_the_pitch(
    stack: Stack, response_format: str, speed: float
) -> None:
    text = SENTENCES[1]
    plain, changed = speak(stack, text, response_format), speak(stack, text, response_format, speed)
    assert len(changed) == pytest.approx(len(plain) / speed, rel=0.03)
    # The recogniser knows natural pace only, so it hears the reply slowed down or sped up again.
    heard = transcribe(at_speed(changed, 1 / speed))
    assert word_error_rate(heard, words(text)) <= MAX_WORD_ERRORS, heard
    assert median_pitch_hz(changed) == pytest.approx(median_pitch_hz(plain), rel=0.03)


@pytest.mark.parametrize("speed", [0.25, 4.0])
def test_the_extreme_speeds_scale_the_duration(stack: Stack, speed: float) -> None:
    text = SENTENCES[0]
    plain, changed = speak(stack, text, "pcm"), speak(stack, text, "pcm", speed)
    assert len(changed) == pytest.approx(len(plain) / speed, rel=0.03)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_ones(stack: Stack) -> None:
    client = stack.frontend.openai()

    def pcm(seed: int) -> bytes:
        reply = client.audio.speech.create(
            model="tts-1", voice="nova", input=SENTENCES[0], response_format="pcm", extra_body={"seed": seed}
        )
        return reply.read()

    assert pcm(1) == pcm(1)
    assert pcm(1) != pcm(2)


def test_a_paragraph_keeps_every_sentence_in_order(stack: Stack) -> None:
    heard = transcribe(speak(stack, " ".join(SENTENCES), "mp3"))
    assert word_error_rate(heard, words(" ".join(SENTENCES))) <= MAX_WORD_ERRORS, heard


def test_concurrent_requests_each_get_their_own_words(stack: Stack) -> None:
    texts = [SENTENCES[number % 3] for number in range(12)]
    client = stack.frontend.openai()

    def pcm(text: str) -> bytes:
        return client.audio.speech.create(
            model="tts-1", voice="alloy", input=text, response_format="pcm", extra_body={"seed": 7}
        ).read()

    with ThreadPoolExecutor(len(texts)) as threads:
        replies = list(threads.map(pcm, texts))
    alone = {text: speak(stack, text, "pcm") for text in SENTENCES}
    for text, reply in zip(texts, replies, strict=True):
        np.testing.assert_array_equal(decode(reply, "pcm"), alone[text])
