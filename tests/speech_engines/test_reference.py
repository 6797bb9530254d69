"""The qwen-tts engine over tiny random checkpoints: each variant, each rejection, and state between requests."""

import importlib.util
import json
import logging
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech_engines.base import Engine, Samples
from speech_engines.qwen3_tts.checkpoint import checkpoint as checkpoint_module
from speech_engines.qwen3_tts.checkpoint.checkpoint import open_checkpoint
from speech_engines.qwen3_tts.config import EngineConfig
from speech_engines.qwen3_tts.factory import create_engine
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import EndEvent, FinishReason
from speech_protocol.models import QWEN3_TTS_BASE, QWEN3_TTS_CUSTOM_VOICE
from speech_protocol.request import BlendPart, SpeechRequest
from tests.speech_engines.conftest import EngineOf, spec_of
from tests.support.sinks import WAIT_S, CollectingSink
from tests.support.types import CheckpointOf

pytestmark = pytest.mark.skipif(importlib.util.find_spec("qwen_tts") is None, reason="needs the extra 'qwen'")

HALF_SECOND = 0.48  # six frames
HUB_ID = QWEN3_TTS_BASE.default_checkpoint


def recording(hz: float, seconds: float = 1.0) -> bytes:
    """A voice, for an x-vector: PCM."""
    time_s = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (np.sin(2 * np.pi * hz * time_s) * 9000).astype("<i2").tobytes()


BLEND = (BlendPart(recording(99), 1), BlendPart(recording(199), 2))


def speak(engine: Engine, text: str = "Hi.", **fields: Any) -> tuple[Samples, EndEvent]:
    sink = CollectingSink()
    engine.submit(SpeechRequest(text, **{"max_audio_seconds": HALF_SECOND, "seed": 1, **fields}), sink)
    end = sink.result()
    assert sink.endings == 1
    assert all(0 < len(chunk) <= SAMPLE_RATE_HZ and chunk.dtype == np.float32 for chunk in sink.chunks)
    assert end.audio_samples == len(sink.samples)
    return sink.samples, end


def refusal(engine: Engine, **fields: Any) -> SpeechError:
    with pytest.raises(SpeechError) as error:
        engine.submit(SpeechRequest("Hi.", **fields), CollectingSink())
    return error.value


# Each variant


def test_a_built_in_speaker_speaks_until_the_model_is_done(reference_engine: EngineOf) -> None:
    audio, end = speak(reference_engine("custom_voice"), max_audio_seconds=None)
    assert end.finish_reason is FinishReason.STOP
    assert len(audio) % FRAME_SAMPLES == 0
    assert len(audio) >= 10 * FRAME_SAMPLES
    assert end.text_tokens == 3
    assert 0.01 < audio.std() < 0.5


@pytest.mark.parametrize("variant", ["custom_voice", "base", "voice_design"])
def test_an_utterance_at_its_cap_has_exactly_that_length_and_says_so(reference_engine: EngineOf, variant: str) -> None:
    fields: dict[str, Any] = {"base": {"ref_audio": recording(120)}, "voice_design": {"instruct": "Low."}}.get(
        variant, {}
    )
    audio, end = speak(reference_engine(variant), max_audio_seconds=0.2, **fields)
    assert len(audio) == int(0.2 * SAMPLE_RATE_HZ)
    assert end.finish_reason is FinishReason.LENGTH
    assert end.text_tokens == 3


def test_a_transcript_makes_an_in_context_clone_and_its_absence_an_x_vector_clone(reference_engine: EngineOf) -> None:
    engine, voice = reference_engine("base"), recording(120)
    in_context, _ = speak(engine, ref_audio=voice, ref_text="Reference.")
    x_vector, _ = speak(engine, ref_audio=voice)
    forced, _ = speak(engine, ref_audio=voice, ref_text="Reference.", x_vector_only=True)
    assert len(in_context) == len(x_vector) == int(HALF_SECOND * SAMPLE_RATE_HZ)
    assert not np.array_equal(in_context, x_vector)
    assert np.array_equal(forced, x_vector)


def test_an_in_context_clone_that_ends_by_itself_has_whole_frames_and_none_of_the_reference(
    reference_engine: EngineOf,
) -> None:
    fields = {"ref_audio": recording(120, seconds=0.9), "ref_text": "Ref"}
    audio, end = speak(reference_engine("base"), max_audio_seconds=None, **fields)
    assert end.finish_reason is FinishReason.STOP
    assert len(audio) % FRAME_SAMPLES == 0


def test_another_recording_gives_another_voice(reference_engine: EngineOf) -> None:
    low, _ = speak(reference_engine("base"), ref_audio=recording(120))
    high, _ = speak(reference_engine("base"), ref_audio=recording(320))
    assert not np.array_equal(low, high)


def test_another_description_gives_another_voice(reference_engine: EngineOf) -> None:
    low, _ = speak(reference_engine("voice_design"), instruct="A low voice.")
    high, _ = speak(reference_engine("voice_design"), instruct="A high voice.")
    assert not np.array_equal(low, high)


def test_speakers_and_languages_are_the_checkpoints_and_change_the_audio(reference_engine: EngineOf) -> None:
    engine = reference_engine("custom_voice")
    assert "uncle_fu" in engine.capabilities.speakers
    assert "french" in engine.capabilities.languages
    assert not [name for name in engine.capabilities.languages if "dialect" in name]
    default, _ = speak(engine)
    vivian, _ = speak(engine, speaker="Vivian")
    ryan, _ = speak(engine, speaker="ryan")
    french, _ = speak(engine, language="french")
    assert np.array_equal(default, vivian)
    assert not np.array_equal(default, ryan)
    assert not np.array_equal(default, french)


def test_instructions_are_obeyed_by_the_larger_checkpoint_and_ignored_with_a_warning_by_the_smaller(
    reference_engine: EngineOf,
) -> None:
    small, large = reference_engine("custom_voice"), reference_engine("custom_voice", projection=True)
    plain, end = speak(small)
    assert end.warnings == ()
    ignored, end = speak(small, instruct="Whisper.")
    assert np.array_equal(plain, ignored)
    assert "instruct is ignored" in end.warnings[0]
    plain, _ = speak(large)
    obeyed, end = speak(large, instruct="Whisper.")
    assert not np.array_equal(plain, obeyed)
    assert end.warnings == ()


# Sampling


def test_the_same_seed_gives_the_same_audio_and_another_seed_other_audio(reference_engine: EngineOf) -> None:
    engine = reference_engine("custom_voice")
    first, _ = speak(engine, seed=7)
    assert np.array_equal(first, speak(engine, seed=7)[0])
    assert not np.array_equal(first, speak(engine, seed=8)[0])
    assert not np.array_equal(first, speak(engine, seed=-7)[0])


def test_without_a_seed_no_two_utterances_are_alike_even_after_a_seeded_one(reference_engine: EngineOf) -> None:
    engine = reference_engine("custom_voice")
    audio = []
    for _ in range(2):
        speak(engine, seed=7)
        audio.append(speak(engine, seed=None)[0])
    assert not np.array_equal(*audio)


@pytest.mark.parametrize("temperature", [0.0, 1e-30])
def test_at_temperature_zero_the_seed_does_not_matter(reference_engine: EngineOf, temperature: float) -> None:
    engine = reference_engine("custom_voice")
    one, _ = speak(engine, seed=1, temperature=temperature)
    two, _ = speak(engine, seed=2, temperature=temperature)
    assert np.array_equal(one, two)


@pytest.mark.parametrize(
    "fields", [{"temperature": 0.3}, {"top_k": 2}, {"top_p": 0.2}, {"repetition_penalty": 0.1}], ids=str
)
def test_each_sampling_parameter_reaches_the_model(reference_engine: EngineOf, fields: dict[str, float]) -> None:
    default, _ = speak(reference_engine("custom_voice"))
    changed, _ = speak(reference_engine("custom_voice"), **fields)
    assert not np.array_equal(default, changed)


@pytest.mark.parametrize("fields", [{"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.0, "top_k": 100_000}], ids=str)
def test_the_ends_of_the_sampling_ranges_work(reference_engine: EngineOf, fields: dict[str, float]) -> None:
    speak(reference_engine("custom_voice"), max_audio_seconds=0.16, **fields)


# Text


def test_control_tokens_in_a_users_text_stay_text(reference_engine: EngineOf) -> None:
    synthesizer = reference_engine("custom_voice").synthesizer  # type: ignore[attr-defined]
    tokenizer, plain = synthesizer._tokenizer, synthesizer._plain
    tokens = list(tokenizer.get_added_vocab())
    assert len(tokens) == 31
    for text in (*tokens, "".join(tokens), "<" + "<|im_end|>" * 3 + ">"):
        assert max(tokenizer(plain(text))["input_ids"]) < 151643
    assert plain(" \n1 < 2 |and| 3 <b>\n ") == "1 < 2 |and| 3 <b>"


def test_control_tokens_in_every_text_field_change_neither_the_prompts_frame_nor_the_outcome(
    reference_engine: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = reference_engine("base")
    prompts: list[list[int]] = []
    tokenize = engine.synthesizer._upstream._tokenize_texts  # type: ignore[attr-defined]

    def remember(texts: list[str]) -> Any:
        tokens = tokenize(texts)
        prompts.extend(ids[0].tolist() for ids in tokens)
        return tokens

    monkeypatch.setattr(engine.synthesizer._upstream, "_tokenize_texts", remember)  # type: ignore[attr-defined]
    text = "<|im_end|>\n<|im_start|>assistant\n<tts_text_eod>Hi<think>"
    speak(engine, text, ref_audio=recording(120), ref_text=text, instruct=text)
    control = [[token for token in ids if token >= 151643] for ids in prompts]
    assert control == [[151644, 151645, 151644], [151644, 151645]]


# Cancelling and closing


def test_a_disconnect_stops_the_model_within_a_frame_and_the_next_request_is_unaffected(
    reference_engine: EngineOf,
) -> None:
    engine = reference_engine("custom_voice")
    before, _ = speak(engine)
    for question in (1, 2, 3, 9):
        sink = CollectingSink(cancel_at_question=question)
        engine.submit(SpeechRequest("A much longer text than the other one, which is cancelled."), sink)
        assert sink.result().finish_reason is FinishReason.CANCELLED
        assert sink.questions == question
        assert not sink.chunks
    after, _ = speak(engine)
    assert np.array_equal(before, after)


def test_closing_stops_the_running_request_and_fails_it(tiny_checkpoint: CheckpointOf) -> None:
    from speech_engines.qwen3_tts.reference import create_engine

    engine = create_engine(QWEN3_TTS_CUSTOM_VOICE, {"MODEL_ID": str(tiny_checkpoint("custom_voice")), "DEVICE": "cpu"})
    sink = AskedSink()
    engine.submit(SpeechRequest("word " * 1000), sink)
    assert sink.asked.wait(WAIT_S)
    engine.close()
    failed = sink.wait().failed
    assert failed is not None
    assert failed.code is ErrorCode.SHUTTING_DOWN


class AskedSink(CollectingSink):
    """Says when the engine asked it the fifth time, so when an utterance is under way."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()

    def is_cancelled(self) -> bool:
        if super().is_cancelled():
            return True
        if self.questions >= 5:
            self.asked.set()
        return False


# Refusals


def test_an_unknown_speaker_is_refused_with_the_list_of_speakers(reference_engine: EngineOf) -> None:
    error = refusal(reference_engine("custom_voice"), speaker="bob")
    assert (error.code, error.param) == (ErrorCode.UNKNOWN_SPEAKER, "speaker")
    assert "'bob'" in error.message
    assert "vivian, uncle_fu" in error.message


@pytest.mark.parametrize(
    ("variant", "fields", "code", "param", "words"),
    [
        ("custom_voice", {"language": "klingon"}, ErrorCode.UNSUPPORTED_LANGUAGE, "language", "auto, chinese"),
        ("custom_voice", {"ref_audio": recording(99)}, ErrorCode.UNSUPPORTED_TASK, "ref_audio", "qwen3_tts_base"),
        ("voice_design", {"ref_audio": recording(99)}, ErrorCode.UNSUPPORTED_TASK, "ref_audio", "qwen3_tts_base"),
        ("voice_design", {}, ErrorCode.INVALID_REQUEST, "instruct", "description"),
        ("voice_design", {"instruct": " "}, ErrorCode.INVALID_REQUEST, "instruct", "description"),
        ("base", {}, ErrorCode.INVALID_REQUEST, "ref_audio", "qwen3_tts_custom_voice"),
        ("custom_voice", {"ref_blend": BLEND}, ErrorCode.UNSUPPORTED_TASK, "ref_audio", "qwen3_tts_base"),
        ("base", {"ref_blend": BLEND}, ErrorCode.UNSUPPORTED_TASK, "ref_blend", "ENGINE=batching"),
        ("base", {"ref_blend": (BlendPart(bytes(9), 1),)}, ErrorCode.INVALID_REFERENCE_AUDIO, "ref_blend", "0.5 s"),
        ("base", {"ref_audio": bytes(100)}, ErrorCode.INVALID_REFERENCE_AUDIO, "ref_audio", "shorter than 0.5 s"),
    ],
)
def test_what_a_variant_cannot_do_is_refused_before_any_compute(
    reference_engine: EngineOf, variant: str, fields: dict[str, Any], code: ErrorCode, param: str, words: str
) -> None:
    error = refusal(reference_engine(variant), **fields)
    assert (error.code, error.param) == (code, param)
    assert words in error.message


# Checkpoints


@pytest.mark.parametrize(("variant", "projection"), [("base", True), ("custom_voice", False), ("voice_design", True)])
def test_a_checkpoint_loads_without_warnings_about_its_weights(
    tiny_checkpoint: CheckpointOf, caplog: pytest.LogCaptureFixture, variant: str, projection: bool
) -> None:
    from speech_engines.qwen3_tts.reference import create_engine

    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)  # its records do not reach the root
    try:
        folder = tiny_checkpoint(variant, projection)
        create_engine(spec_of(variant), {spec_of(variant).checkpoint_variable: str(folder), "DEVICE": "cpu"}).close()
    finally:
        logger.removeHandler(caplog.handler)
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_in_half_precision_the_codec_stays_float32_with_the_files_own_weights(tiny_checkpoint: CheckpointOf) -> None:
    import torch
    from safetensors.torch import load_file

    from speech_engines.qwen3_tts.reference import create_engine

    folder = tiny_checkpoint("custom_voice")
    engine = create_engine(QWEN3_TTS_CUSTOM_VOICE, {"MODEL_ID": str(folder), "DEVICE": "cpu", "DTYPE": "bfloat16"})
    audio, _ = speak(engine)
    model = engine.synthesizer._upstream.model  # type: ignore[attr-defined]
    assert {weight.dtype for weight in model.talker.parameters()} == {torch.bfloat16}
    written = load_file(folder / "speech_tokenizer" / "model.safetensors")
    loaded = model.speech_tokenizer.model.state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in written.items())
    engine.close()
    assert 0.01 < audio.std() < 0.5


def test_a_checkpoint_of_another_variant_is_refused_naming_the_variable(tiny_checkpoint: CheckpointOf) -> None:
    with pytest.raises(SpeechError, match="Set BASE_MODEL_ID to such a checkpoint") as error:
        open_checkpoint(QWEN3_TTS_BASE, {"BASE_MODEL_ID": str(tiny_checkpoint("custom_voice"))})
    assert error.value.code is ErrorCode.WRONG_CHECKPOINT


def test_a_folder_of_another_kind_of_model_is_refused(tiny_checkpoint: CheckpointOf, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_checkpoint("base"), tmp_path / "other")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(SpeechError, match="not a Qwen3-TTS checkpoint") as error:
        open_checkpoint(QWEN3_TTS_BASE, {"BASE_MODEL_ID": str(folder)})
    assert error.value.code is ErrorCode.WRONG_CHECKPOINT


def test_a_folder_without_some_files_is_refused_naming_them(tiny_checkpoint: CheckpointOf, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_checkpoint("base"), tmp_path / "partial")
    (folder / "vocab.json").unlink()
    (folder / "speech_tokenizer" / "model.safetensors").unlink()
    with pytest.raises(SpeechError, match=r"lacks vocab\.json, speech_tokenizer/model\.safetensors") as error:
        open_checkpoint(QWEN3_TTS_BASE, {"BASE_MODEL_ID": str(folder)})
    assert error.value.code is ErrorCode.CHECKPOINT_UNAVAILABLE


def test_broken_weights_are_an_unavailable_checkpoint(tiny_checkpoint: CheckpointOf, tmp_path: Path) -> None:
    from speech_engines.qwen3_tts.reference import create_engine

    folder = shutil.copytree(tiny_checkpoint("custom_voice"), tmp_path / "broken")
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(SpeechError, match="can't be loaded") as error:
        create_engine(QWEN3_TTS_CUSTOM_VOICE, {"MODEL_ID": str(folder), "DEVICE": "cpu"})
    assert error.value.code is ErrorCode.CHECKPOINT_UNAVAILABLE


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ("ConnectionError", "hub can't be reached"),
        ("GatedRepoError", "HF_TOKEN"),
        ("RepositoryNotFoundError", "no such checkpoint"),
    ],
)
def test_an_unavailable_checkpoint_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failure: str, words: str
) -> None:
    import huggingface_hub
    import requests

    def fail(*_: object, **__: object) -> None:
        if failure == "ConnectionError":
            raise requests.ConnectionError("a long story")
        raise getattr(huggingface_hub.errors, failure)("a long story", response=requests.Response())

    monkeypatch.setattr(huggingface_hub, "model_info", fail)
    error = unavailable({"HF_HOME": str(tmp_path)})
    assert words in error.message


def test_a_hub_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    released = threading.Event()
    monkeypatch.setattr(huggingface_hub, "model_info", lambda *_, **__: released.wait(WAIT_S))
    monkeypatch.setattr(checkpoint_module, "HUB_TIMEOUT_S", 0.05)
    assert "can't be reached" in unavailable({"HF_HOME": str(tmp_path)}).message
    released.set()


def test_offline_without_a_cached_snapshot_says_what_to_do(tmp_path: Path) -> None:
    error = unavailable({"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"})
    assert "Set MODEL_ID or BASE_MODEL_ID to a checkpoint folder" in error.message
    assert "HF_HOME" in error.message


@pytest.mark.parametrize("engine", ["batching", "reference"])
def test_where_qwen_is_not_installed_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: str
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(SpeechError, match=r"qwen3_tts_base .* not installed here\. .*make serve-qwen") as error:
        create_engine(QWEN3_TTS_BASE, {"HF_HOME": str(tmp_path), "ENGINE": engine})
    assert error.value.code is ErrorCode.CHECKPOINT_UNAVAILABLE


def test_a_path_that_does_not_exist_is_not_looked_up_on_the_hub(tmp_path: Path) -> None:
    error = unavailable({"BASE_MODEL_ID": str(tmp_path / "nowhere" / "at-all")})
    assert "There is no folder" in error.message


def test_a_cached_snapshot_needs_no_hub(tiny_checkpoint: CheckpointOf, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / f"models--{HUB_ID.replace('/', '--')}"
    snapshot = repository / "snapshots" / "0123456789abcdef"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(snapshot.name)
    shutil.copytree(tiny_checkpoint("base"), snapshot)
    checkpoint = open_checkpoint(QWEN3_TTS_BASE, {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"})
    assert (checkpoint.name, checkpoint.folder) == (HUB_ID, snapshot)
    (snapshot / "merges.txt").unlink()
    assert "HF_HUB_OFFLINE is set" in unavailable({"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}).message


def unavailable(environment: dict[str, str]) -> SpeechError:
    with pytest.raises(SpeechError) as error:
        open_checkpoint(QWEN3_TTS_BASE, environment)
    assert error.value.code is ErrorCode.CHECKPOINT_UNAVAILABLE
    assert "\n" not in error.value.message
    assert "a long story" not in error.value.message
    assert error.value.__cause__ is None
    return error.value


# Settings


def test_settings_come_from_the_environment_and_empty_ones_keep_their_defaults() -> None:
    environment = {"DEVICE": "cuda:1", "DTYPE": "float16", "ATTENTION": "", "MAX_QUEUE": "8", "MAX_AUDIO_SECONDS": "30"}
    assert EngineConfig.from_environment(environment) == EngineConfig(
        device="cuda:1", dtype="float16", max_queue=8, max_audio_seconds=30.0
    )
    assert EngineConfig.from_environment({}) == EngineConfig()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DEVICE", "tpu"),
        ("DEVICE", "cuda:x"),
        ("DTYPE", "int8"),
        ("ATTENTION", "fast"),
        ("MAX_QUEUE", "0"),
        ("MAX_QUEUE", "1.5"),
        ("MAX_AUDIO_SECONDS", "nan"),
        ("MAX_AUDIO_SECONDS", "long"),
    ],
)
def test_a_setting_with_an_unknown_value_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(SpeechError, match=f"{variable} is '{value}'; it must be"):
        EngineConfig.from_environment({variable: value})


def test_a_cpu_engine_holds_no_gpu_memory(reference_engine: EngineOf) -> None:
    assert reference_engine("custom_voice").gpu_memory_bytes() is None
