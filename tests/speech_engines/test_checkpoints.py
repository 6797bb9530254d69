"""The stand-in checkpoints: the properties that the engines' tests rely on."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tests.speech_engines.conftest import EngineOf
from tests.support.types import CheckpointOf

pytestmark = pytest.mark.skipif(importlib.util.find_spec("qwen_tts") is None, reason="needs the extra 'qwen'")


@pytest.fixture
def upstream(reference_engine: EngineOf) -> Any:
    """The qwen-tts model inside the reference engine."""
    return reference_engine("base").synthesizer._upstream  # type: ignore[attr-defined]


def test_the_same_seed_gives_the_same_files_and_another_seed_other_weights(
    tiny_checkpoint: CheckpointOf, tmp_path: Path
) -> None:
    from tests.support.checkpoints import build_checkpoint

    first = tiny_checkpoint("base")
    again, other = build_checkpoint(tmp_path / "again", "base"), build_checkpoint(tmp_path / "other", "base", seed=1)
    names = sorted(str(path.relative_to(first)) for path in first.rglob("*.*") if path.is_file())
    assert len(names) == 10
    assert all((first / name).read_bytes() == (again / name).read_bytes() for name in names)
    changed = [name for name in names if (first / name).read_bytes() != (other / name).read_bytes()]
    assert changed == ["model.safetensors", "speech_tokenizer/model.safetensors"]


@pytest.mark.parametrize("size", ["tiny", "full-0.6b", "full-1.7b"])
@pytest.mark.parametrize("variant", ["custom_voice", "base", "voice_design"])
def test_every_tensor_has_the_name_and_shape_that_qwen_tts_expects(variant: str, size: str) -> None:
    import torch
    from qwen_tts.core import Qwen3TTSTokenizerV2Config, Qwen3TTSTokenizerV2Model
    from qwen_tts.core.models import Qwen3TTSConfig, Qwen3TTSForConditionalGeneration

    from tests.support.checkpoints import configs_of, shape_of
    from tests.support.tensors import codec_specs, talker_specs

    config, codec_config = configs_of(shape_of(variant, size), variant)
    with torch.device("meta"):
        talker = Qwen3TTSForConditionalGeneration(Qwen3TTSConfig(**config))
        codec = Qwen3TTSTokenizerV2Model(Qwen3TTSTokenizerV2Config(**codec_config))
    for model, specs in ((talker, talker_specs(config)), (codec, codec_specs(codec_config))):
        shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        assert {name: spec.shape for name, spec in specs.items()} == shapes


def test_any_text_survives_the_tokenizer_and_the_templates_words_are_single_tokens(upstream: Any) -> None:
    tokenizer = upstream.processor.tokenizer
    text = "Ünïcödé 你好 🙂 \x00\x7f\u200d 1234 user's\tassistant"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer("<|im_start|>assistant\n")["input_ids"] == [151644, 77091, 198]
    assert tokenizer("<tts_pad><tts_text_bos><tts_text_eod>")["input_ids"] == [151671, 151672, 151673]


def test_every_id_in_the_config_is_the_tokenizers(tiny_checkpoint: CheckpointOf, upstream: Any) -> None:
    config = json.loads((tiny_checkpoint("base") / "config.json").read_text())
    names = {"assistant": "assistant", "im_start": "<|im_start|>", "im_end": "<|im_end|>", "tts_pad": "<tts_pad>"}
    names |= {"tts_bos": "<tts_text_bos>", "tts_eos": "<tts_text_eod>"}
    ids = {name: upstream.processor.tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}
    assert ids == {name: config[f"{name}_token_id"] for name in names}


def test_every_code_of_a_frame_is_heard_and_none_clips(upstream: Any) -> None:
    import torch

    codes = torch.arange(16).repeat(4, 1) * 7  # [T, 16]
    decode = upstream.model.speech_tokenizer.decode
    (plain,), rate = decode([{"audio_codes": codes}])
    assert (plain.shape, rate) == ((4 * 1920,), 24_000)
    assert 0.01 < plain.std() < 0.5
    assert abs(plain).max() < 1
    for codebook in range(16):
        changed = codes.clone()
        changed[2, codebook] += 1
        (other,), _ = decode([{"audio_codes": changed}])
        assert (plain[: 2 * 1920] == other[: 2 * 1920]).all()
        assert abs(plain - other).max() > 1e-3
