"""The batching engine over tiny checkpoints: the same audio as qwen-tts, and the same in any batch."""

import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from unittest.mock import Mock

import numpy as np
import pytest

from speech_engines.base import Engine, Samples
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import FinishReason
from speech_protocol.request import SpeechRequest
from tests.speech_engines.conftest import EngineOf
from tests.support.sinks import CollectingSink
from tests.support.types import CheckpointOf

pytestmark = pytest.mark.skipif(importlib.util.find_spec("qwen_tts") is None, reason="needs the extra 'qwen'")

TEXT = "Hello there, how are you today?"
SHORT_S = 1.6


def recording(hz: float, seconds: float = 2.0) -> bytes:
    """A voice-like tone as PCM."""
    time_s = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tone = sum(np.sin(2 * np.pi * hz * n * time_s) / n for n in range(1, 6)) * np.hanning(len(time_s))
    return (8000 * tone).astype("<i2").tobytes()


# Every kind of prompt, by the variant it is for.
PROMPTS: dict[str, tuple[str, dict[str, object]]] = {
    "speaker": ("custom_voice", {"speaker": "ryan"}),
    "dialect speaker": ("custom_voice", {"speaker": "eric", "language": "chinese"}),
    "language": ("custom_voice", {"speaker": "serena", "language": "german"}),
    "description": ("voice_design", {"instruct": "An old man, hoarse."}),
    "x-vector clone": ("base", {"ref_audio": recording(180)}),
    "in-context clone": ("base", {"ref_audio": recording(180), "ref_text": "La la la."}),
}


def begin(engine: Engine, text: str = TEXT, **fields: object) -> CollectingSink:
    sink = CollectingSink()
    engine.submit(SpeechRequest(text, **{"max_audio_seconds": SHORT_S, "seed": 7, **fields}), sink)  # type: ignore[arg-type]
    return sink


def speak(engine: Engine, text: str = TEXT, **fields: object) -> Samples:
    sink = begin(engine, text, **fields)
    sink.result()
    return sink.samples


def test_each_text_is_tokenized_once_and_a_recording_digested_once(
    batching_engine: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from speech_engines.qwen3_tts.prompt import voice_prompts as voices
    from speech_engines.qwen3_tts.prompt.tokenizer import TextTokenizer

    engine, pcm = batching_engine("base"), recording(140)
    text_ids = Mock(wraps=TextTokenizer.text_ids)
    sha256 = Mock(wraps=hashlib.sha256)
    monkeypatch.setattr(TextTokenizer, "text_ids", lambda self, text: text_ids(self, text))
    monkeypatch.setattr(voices.hashlib, "sha256", sha256)
    speak(engine, "Hi.", ref_audio=pcm, ref_text="La.")  # a new voice
    speak(engine, "Ho.", ref_audio=pcm, ref_text="La.")  # a known one
    assert sorted(call.args[1] for call in text_ids.call_args_list) == ["Hi.", "Ho.", "La.", "La."]
    assert [call.args[0].endswith(pcm) for call in sha256.call_args_list].count(True) == 2


@pytest.mark.parametrize("projection", [False, True], ids=["without projection", "with projection"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_audio_is_that_of_qwen_tts(
    batching_engine: EngineOf, reference_engine: EngineOf, prompt: str, projection: bool
) -> None:
    variant, fields = PROMPTS[prompt]
    ours = speak(batching_engine(variant, projection), temperature=0.0, **fields)
    theirs = speak(reference_engine(variant, projection), temperature=0.0, **fields)
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_an_utterance_that_ends_by_itself_ends_where_qwen_tts_ends_it(
    batching_engine: EngineOf, reference_engine: EngineOf
) -> None:
    ours, theirs = (
        begin(engine("custom_voice"), "Hello.", temperature=0.0, max_audio_seconds=30.0)
        for engine in (batching_engine, reference_engine)
    )
    assert ours.result().finish_reason is theirs.result().finish_reason is FinishReason.STOP
    assert ours.result().text_tokens == theirs.result().text_tokens
    np.testing.assert_allclose(ours.samples, theirs.samples, atol=1e-3)


def test_each_request_gets_the_same_audio_in_any_batch_as_alone(batching_engine: EngineOf) -> None:
    engine = batching_engine("custom_voice")
    speakers = ("ryan", "serena", "uncle_fu", "vivian", "aiden", "dylan")
    requests = [
        {"text": TEXT[: 5 + 3 * number], "speaker": speaker, "seed": number, "max_audio_seconds": 0.4 + 0.3 * number}
        for number, speaker in enumerate(speakers * 2)
    ]
    alone = [speak(engine, **request) for request in requests]  # type: ignore[arg-type]
    sinks = [begin(engine, **request) for request in requests]  # type: ignore[arg-type]
    gone = begin(engine, seed=99, max_audio_seconds=30.0)
    gone.cancel()
    for sink, expected in zip(sinks, alone, strict=True):
        sink.result()
        np.testing.assert_allclose(sink.samples, expected, atol=1e-4)


def test_sixteen_clones_at_once_each_follow_their_own_recording(batching_engine: EngineOf) -> None:
    engine = batching_engine("base")
    recordings = [recording(90 + 20 * number, 1.0) for number in range(16)]
    alone = [speak(engine, ref_audio=each, max_audio_seconds=1.2) for each in recordings]
    assert len({samples.tobytes() for samples in alone}) == 16
    sinks = [begin(engine, ref_audio=each, max_audio_seconds=1.2) for each in recordings]
    for sink, expected in zip(sinks, alone, strict=True):
        sink.result()
        np.testing.assert_allclose(sink.samples, expected, atol=1e-4)


def test_the_first_chunk_is_one_frame_and_comes_before_the_utterance_is_done(batching_engine: EngineOf) -> None:
    sink = begin(batching_engine("custom_voice"))
    sink.result()
    assert [len(chunk) // FRAME_SAMPLES for chunk in sink.chunks] == [1, 2, 4, 8, 5]


def test_the_same_seed_gives_the_same_audio_and_another_seed_other_audio(batching_engine: EngineOf) -> None:
    engine = batching_engine("custom_voice")
    first = speak(engine, seed=3)
    np.testing.assert_array_equal(first, speak(engine, seed=3))
    assert not np.array_equal(first, speak(engine, seed=4))


def test_without_a_seed_no_two_utterances_are_alike(batching_engine: EngineOf) -> None:
    engine = batching_engine("custom_voice")
    assert not np.array_equal(speak(engine, seed=None), speak(engine, seed=None))


def test_control_tokens_in_a_users_text_stay_text(batching_engine: EngineOf) -> None:
    engine = batching_engine("custom_voice")
    plain = begin(engine, "Hello there")
    typed = begin(engine, "Hello <|im_end|> there")
    assert typed.result().text_tokens > plain.result().text_tokens
    assert len(typed.samples) == len(plain.samples)


def test_a_text_that_does_not_fit_beside_its_audio_is_refused_and_the_engine_serves_on(
    batching_engine: EngineOf,
) -> None:
    engine = batching_engine("custom_voice")
    with pytest.raises(SpeechError) as error:
        begin(engine, "word " * 5000).result()
    assert (error.value.code, error.value.param) == (ErrorCode.INVALID_REQUEST, "text")
    assert len(speak(engine)) == SHORT_S * SAMPLE_RATE_HZ


def test_what_a_variant_cannot_do_is_refused_as_by_the_reference_engine(
    batching_engine: EngineOf, reference_engine: EngineOf
) -> None:
    refused: dict[str, dict[str, object]] = {
        "custom_voice": {"ref_audio": recording(180)},
        "base": {},
        "voice_design": {"speaker": "ryan"},
    }
    for variant, fields in refused.items():
        messages = []
        for engine in (batching_engine(variant), reference_engine(variant)):
            with pytest.raises(SpeechError) as error:
                begin(engine, **fields)
            messages.append(error.value.to_text())
        assert messages[0] == messages[1]


_IMPORTS = """
import sys, json
from speech_engines.qwen3_tts.factory import create_engine
from speech_protocol.models import QWEN3_TTS_CUSTOM_VOICE
create_engine(QWEN3_TTS_CUSTOM_VOICE, {"MODEL_ID": sys.argv[1], "DEVICE": "cpu", "DTYPE": "float32"}).close()
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_a_model_with_built_in_speakers_starts_without_the_heavy_packages(tiny_checkpoint: CheckpointOf) -> None:
    command = [sys.executable, "-c", _IMPORTS, str(tiny_checkpoint("custom_voice"))]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    imported: Callable[[str], bool] = set(json.loads(output.splitlines()[-1])).__contains__
    assert imported("torch")
    assert not [name for name in ("qwen_tts", "transformers", "librosa", "onnxruntime", "torchaudio") if imported(name)]
