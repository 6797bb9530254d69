"""The forced aligner on a tiny checkpoint of the real format, compared with transformers' models of the same kind."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import FinishReason
from speech_protocol.request import SpeechRequest
from tests.support.sinks import CollectingSink

pytestmark = pytest.mark.skipif(importlib.util.find_spec("qwen_tts") is None, reason="needs the extra 'qwen'")

RATE_HZ = 24_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.aligner_checkpoint import build_aligner

    return build_aligner(tmp_path_factory.mktemp("aligner"))


def recording(seconds: float) -> np.ndarray:
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    noise = np.random.default_rng(0).standard_normal(len(time_s))
    return (0.3 * np.sin(2 * np.pi * 220 * time_s * (1 + 0.1 * time_s)) + 0.05 * noise).astype(np.float32)


def test_the_spectrogram_is_whispers() -> None:
    import torch
    from torchaudio.functional import resample
    from transformers import WhisperFeatureExtractor

    from speech_engines.forced_aligner.features import RATE_HZ as FEATURES_HZ
    from speech_engines.forced_aligner.features import LogMel

    samples = torch.from_numpy(recording(1.7))
    theirs = WhisperFeatureExtractor(feature_size=128)(
        resample(samples, RATE_HZ, FEATURES_HZ).numpy(),
        sampling_rate=FEATURES_HZ,
        padding=True,
        truncation=False,
        return_tensors="pt",
    )
    torch.testing.assert_close(LogMel(128)(samples), theirs["input_features"][0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("frames", [37, 100, 163])
def test_the_audio_encoder_is_that_of_qwen3_omni(folder: Path, frames: int) -> None:
    import torch
    from transformers.models.qwen3_omni_moe.configuration_qwen3_omni_moe import Qwen3OmniMoeAudioEncoderConfig
    from transformers.models.qwen3_omni_moe.modeling_qwen3_omni_moe import Qwen3OmniMoeAudioEncoder

    from speech_engines.forced_aligner.encoder import PREFIX, AudioEncoder
    from speech_engines.qwen3_tts.model.weights import read_tensors

    config = json.loads((folder / "config.json").read_text())["thinker_config"]["audio_config"]
    weights = dict(read_tensors(folder, PREFIX, torch.device("cpu")))
    theirs = Qwen3OmniMoeAudioEncoder._from_config(
        Qwen3OmniMoeAudioEncoderConfig(**config), attn_implementation="eager"
    )
    theirs.load_state_dict({name.removeprefix(PREFIX): tensor for name, tensor in weights.items()})
    features = torch.randn(128, frames, generator=torch.Generator().manual_seed(frames))
    with torch.inference_mode():
        expected = theirs.eval()(features, feature_lens=torch.tensor([frames])).last_hidden_state
        torch.testing.assert_close(AudioEncoder(config, weights)(features), expected, atol=1e-5, rtol=1e-4)


def test_the_language_model_is_qwen3s(folder: Path) -> None:
    import torch
    from torch.nn import functional
    from transformers import Qwen3Config, Qwen3Model

    from speech_engines.forced_aligner.decoder import HEAD, PREFIX, Decoder
    from speech_engines.qwen3_tts.model.weights import read_tensors

    config = json.loads((folder / "config.json").read_text())["thinker_config"]["text_config"]
    weights = dict(read_tensors(folder, "thinker.", torch.device("cpu")))
    theirs = Qwen3Model(Qwen3Config(**{**config, "rope_scaling": None}))
    theirs.load_state_dict({
        name.removeprefix(PREFIX): tensor for name, tensor in weights.items() if name.startswith(PREFIX)
    })  # fmt: skip
    ids = torch.randint(0, 300, (40,), generator=torch.Generator().manual_seed(0))
    decoder = Decoder(config, weights)
    with torch.inference_mode():
        hidden = theirs.eval()(inputs_embeds=decoder.embed(ids)[None]).last_hidden_state[0]
        expected = functional.linear(hidden, weights[HEAD]).argmax(-1)
        assert torch.equal(decoder.classes(decoder.embed(ids), torch.arange(40)), expected)


def test_every_word_gets_a_time_within_the_recording(folder: Path) -> None:
    from speech_engines.forced_aligner.engine import create_engine

    engine = create_engine({"ALIGNER_MODEL_ID": str(folder), "DEVICE": "cpu"})
    try:
        pcm = (recording(2.5) * 32767).astype("<i2").tobytes()
        sink = CollectingSink()
        engine.submit(SpeechRequest("Hello there, this is it. \u4f60\u597d\uff01", ref_audio=pcm), sink)
        end = sink.result()
        with pytest.raises(SpeechError) as caught:
            engine.submit(SpeechRequest("No recording."), CollectingSink())
    finally:
        engine.close()
    assert (end.finish_reason, end.text_tokens, end.audio_samples) == (FinishReason.STOP, 7, 0)
    assert [word.text for word in sink.words] == ["Hello", "there,", "this", "is", "it.", "\u4f60", "\u597d\uff01"]
    times = [time for word in sink.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= 2.5 * RATE_HZ
    assert (caught.value.code, caught.value.param) == (ErrorCode.INVALID_REQUEST, "ref_audio")


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    from speech_engines.forced_aligner.engine import create_engine

    environment = {"ALIGNER_MODEL_ID": str(tmp_path), "DEVICE": "cpu"}
    with pytest.raises(SpeechError, match=r"lacks config\.json") as caught:
        create_engine(environment)
    assert caught.value.code is ErrorCode.CHECKPOINT_UNAVAILABLE
    with pytest.raises(SpeechError, match="HF_HUB_OFFLINE is set"):
        create_engine({"DEVICE": "cpu", "HF_HUB_OFFLINE": "1"})
