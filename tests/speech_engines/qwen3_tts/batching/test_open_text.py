"""Text that is appended to a running utterance: the same audio as for the same text at once."""

import importlib.util
import random

import numpy as np
import pytest

from speech_engines.base import Engine, Samples
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import FinishReason
from speech_protocol.request import SpeechRequest, StreamAction
from tests.speech_engines.conftest import EngineOf
from tests.speech_engines.qwen3_tts.batching.test_batching_engine import PROMPTS, begin, recording
from tests.support.sinks import CollectingSink
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(importlib.util.find_spec("qwen_tts") is None, reason="needs the extra 'qwen'")

TEXT = "One, two, three! Isn't it? 今天好。"
APPENDABLE = {name: prompt for name, prompt in PROMPTS.items() if name != "in-context clone"}


def open_stream(engine: Engine, name: str, text: str, **fields: object) -> CollectingSink:
    return begin(engine, text, stream_id=name, stream_action=StreamAction.OPEN, **fields)


def append(engine: Engine, name: str, text: str, *, final: bool = False) -> int:
    action = StreamAction.CLOSE if final else StreamAction.APPEND
    return engine.append(SpeechRequest(text, stream_id=name, stream_action=action))  # type: ignore[attr-defined,no-any-return]


def at_once(engine: Engine, name: str, text: str, **fields: object) -> Samples:
    sink = open_stream(engine, name, text, **fields)
    append(engine, name, "", final=True)
    sink.result()
    return sink.samples


def token_by_token(engine: Engine, name: str, text: str, **fields: object) -> Samples:
    """Each word after the audio of the words before it, so that the row waits for each of them."""
    words = [word + " " for word in text.split(" ")]
    sink = open_stream(engine, name, words[0], **fields)
    for word in words[1:]:
        heard = len(sink.chunks)
        append(engine, name, word)
        eventually(lambda heard=heard: len(sink.chunks) > heard, "the word is spoken")  # type: ignore[misc]
    append(engine, name, "", final=True)
    sink.result()
    return sink.samples


@pytest.mark.parametrize(
    ("prompt", "temperature"), [*((prompt, 0.0) for prompt in APPENDABLE), ("speaker", None), ("description", None)]
)
def test_text_that_is_appended_word_by_word_gives_the_audio_of_the_same_text_at_once(
    batching_engine: EngineOf, prompt: str, temperature: float | None
) -> None:
    variant, fields = APPENDABLE[prompt]
    engine = batching_engine(variant)
    fields = {**fields, "temperature": temperature, "max_audio_seconds": 20.0}
    expected = at_once(engine, "at once", TEXT, **fields)
    assert len(expected) > len(TEXT.split()) * 1920
    np.testing.assert_allclose(token_by_token(engine, "by word", TEXT, **fields), expected, atol=1e-4)


def test_a_batch_of_streams_that_are_written_at_any_pace_gives_the_audio_of_each_alone(
    batching_engine: EngineOf,
) -> None:
    engine, chance = batching_engine("custom_voice"), random.Random(0)
    texts = {f"s{number}": TEXT[: 14 + 4 * number] + " " for number in range(4)}
    alone = {name: at_once(engine, f"{name} alone", text, seed=ord(name[1])) for name, text in texts.items()}
    sinks = {name: open_stream(engine, name, text[:6], seed=ord(name[1])) for name, text in texts.items()}
    rest = {name: text[6:] for name, text in texts.items()}
    while rest:
        name = chance.choice(sorted(rest))
        count = chance.randrange(1, 5)
        piece, rest[name] = rest[name][:count], rest[name][count:]
        append(engine, name, piece, final=not rest[name])
        if not rest[name]:
            del rest[name]
    for name, sink in sinks.items():
        sink.result()
        np.testing.assert_allclose(sink.samples, alone[name], atol=1e-4)


def test_speech_does_not_end_before_the_text_is_closed(batching_engine: EngineOf) -> None:
    engine = batching_engine("custom_voice")
    short = begin(engine, "Hello. ", temperature=0.0, max_audio_seconds=30.0)  # ends by itself
    assert short.result().finish_reason is FinishReason.STOP
    sink = open_stream(engine, "open", "Hello. ", temperature=0.0, max_audio_seconds=30.0)
    eventually(lambda: len(sink.chunks) > 0, "the first word is spoken")
    for _ in range(5):
        heard = len(sink.chunks)
        append(engine, "open", "Hello. ")
        eventually(lambda heard=heard: len(sink.chunks) > heard, "the next word is spoken")  # type: ignore[misc]
    assert sink.endings == 0
    append(engine, "open", "", final=True)
    assert sink.result().finish_reason is FinishReason.STOP


def test_a_clone_with_a_transcript_is_refused_as_its_layout_has_the_text_in_the_prompt(
    batching_engine: EngineOf,
) -> None:
    with pytest.raises(SpeechError) as caught:
        open_stream(batching_engine("base"), "clone", "Hello there, ", ref_audio=recording(180), ref_text="La la la.")
    assert (caught.value.code, caught.value.param) == (ErrorCode.UNSUPPORTED_TASK, "stream_id")
