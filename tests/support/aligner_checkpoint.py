"""Random-weight Qwen3-ForcedAligner checkpoints of the real format, for tests without the real weights."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file

_ADDED: Final = ("<|im_start|>", "<|im_end|>", "<|audio_start|>", "<|audio_end|>", "<|audio_pad|>", "<timestamp>")
_FIRST_ADDED: Final = 300
CONFIG: Final[dict[str, Any]] = {
    "model_type": "qwen3_asr",
    "timestamp_token_id": _FIRST_ADDED + 5,
    "timestamp_segment_time": 80,
    "thinker_config": {
        "model_type": "qwen3_forced_aligner",
        "audio_token_id": _FIRST_ADDED + 4,
        "audio_start_token_id": _FIRST_ADDED + 2,
        "classify_num": 125,
        "audio_config": {
            "num_mel_bins": 128, "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4,
            "encoder_ffn_dim": 48, "downsample_hidden_size": 8, "n_window": 50, "n_window_infer": 200,
            "max_source_positions": 1500, "output_dim": 24, "conv_chunksize": 500, "activation_function": "gelu",
        },
        "text_config": {
            "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 8, "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0, "vocab_size": 320,
            "rope_scaling": {"rope_type": "default", "mrope_section": [2, 1, 1], "mrope_interleaved": True},
        },
    },
}  # fmt: skip


def build_aligner(folder: Path, seed: int = 0) -> Path:
    """A checkpoint in `folder`; its weights depend on the seed."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: torch.randn(*shape, generator=generator) / (shape[-1] ** 0.5 if len(shape) > 1 else 4)
        for name, shape in _shapes()
    }
    tensors |= {name: 1 + tensor / 4 for name, tensor in tensors.items() if "norm" in name and name.endswith("weight")}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "preprocessor_config.json").write_text('{"feature_extractor_type": "WhisperFeatureExtractor"}')
    added = {str(_FIRST_ADDED + index): {"content": name, "special": True} for index, name in enumerate(_ADDED)}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}))
    _write_bytes_vocabulary(folder)
    return folder


def _shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    audio, text = CONFIG["thinker_config"]["audio_config"], CONFIG["thinker_config"]["text_config"]
    width, channels, bins = audio["d_model"], audio["downsample_hidden_size"], audio["num_mel_bins"]
    tower = "thinker.audio_tower"
    for number in (1, 2, 3):
        yield f"{tower}.conv2d{number}.weight", (channels, 1 if number == 1 else channels, 3, 3)
        yield f"{tower}.conv2d{number}.bias", (channels,)
    yield f"{tower}.conv_out.weight", (width, channels * ((((bins + 1) // 2 + 1) // 2 + 1) // 2))
    for layer in range(audio["encoder_layers"]):
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _linear(f"{tower}.layers.{layer}.self_attn.{part}", width, width)
        yield from _linear(f"{tower}.layers.{layer}.fc1", audio["encoder_ffn_dim"], width)
        yield from _linear(f"{tower}.layers.{layer}.fc2", width, audio["encoder_ffn_dim"])
        for norm in ("self_attn_layer_norm", "final_layer_norm"):
            yield f"{tower}.layers.{layer}.{norm}.weight", (width,)
            yield f"{tower}.layers.{layer}.{norm}.bias", (width,)
    yield f"{tower}.ln_post.weight", (width,)
    yield f"{tower}.ln_post.bias", (width,)
    yield from _linear(f"{tower}.proj1", width, width)
    yield from _linear(f"{tower}.proj2", audio["output_dim"], width)
    hidden, inner, head = text["hidden_size"], text["intermediate_size"], text["head_dim"]
    yield "thinker.model.embed_tokens.weight", (text["vocab_size"], hidden)
    for layer in range(text["num_hidden_layers"]):
        name = f"thinker.model.layers.{layer}"
        yield f"{name}.self_attn.q_proj.weight", (text["num_attention_heads"] * head, hidden)
        yield f"{name}.self_attn.k_proj.weight", (text["num_key_value_heads"] * head, hidden)
        yield f"{name}.self_attn.v_proj.weight", (text["num_key_value_heads"] * head, hidden)
        yield f"{name}.self_attn.o_proj.weight", (hidden, text["num_attention_heads"] * head)
        yield f"{name}.self_attn.q_norm.weight", (head,)
        yield f"{name}.self_attn.k_norm.weight", (head,)
        yield f"{name}.mlp.gate_proj.weight", (inner, hidden)
        yield f"{name}.mlp.up_proj.weight", (inner, hidden)
        yield f"{name}.mlp.down_proj.weight", (hidden, inner)
        yield f"{name}.input_layernorm.weight", (hidden,)
        yield f"{name}.post_attention_layernorm.weight", (hidden,)
    yield "thinker.model.norm.weight", (hidden,)
    yield "thinker.lm_head.weight", (CONFIG["thinker_config"]["classify_num"], hidden)


def _linear(name: str, outputs: int, inputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _write_bytes_vocabulary(folder: Path) -> None:
    """A token for each byte, and no merges but one."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate([*alphabet, "th"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\nt h\n", encoding="utf-8")
