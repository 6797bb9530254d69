"""Random-weight Qwen3-TTS checkpoints of the real format, for tests and timings without the real weights.

    python -m tests.support.checkpoints FOLDER --variant base --size tiny [--projection]

Names and shapes of the tensors are those of `tests/support/tensors.py`: it takes torch and safetensors, not qwen-tts.
Each tensor is drawn from a generator seeded by its own name: the same seed gives the same file, whatever else is in it.
Scales keep activations near one, and the audio audible and dependent on every code.
"""

import argparse
import json
import math
import sys
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.support.tensors import TensorSpec, codec_specs, talker_specs

VARIANTS: Final = ("custom_voice", "base", "voice_design")
LANGUAGE_IDS: Final = {
    "chinese": 2055, "english": 2050, "german": 2053, "italian": 2070, "portuguese": 2071, "spanish": 2054,
    "japanese": 2058, "korean": 2064, "french": 2061, "russian": 2069,
}  # fmt: skip
DIALECT_IDS: Final = {"beijing_dialect": 2074, "sichuan_dialect": 2062}
SPEAKER_IDS: Final = {
    "serena": 3066, "vivian": 3065, "uncle_fu": 3010, "ryan": 3061, "aiden": 2861, "ono_anna": 2873, "sohee": 2864,
    "eric": 2875, "dylan": 2878,
}  # fmt: skip
SPEAKER_DIALECTS: Final = {"eric": "sichuan_dialect", "dylan": "beijing_dialect"}
CODEBOOK_SIZE: Final = 2048
CODEC_EOS_ID: Final = 2150
TEXT_VOCAB_SIZE: Final = 151936
FIRST_ADDED_ID: Final = 151643
TTS_PAD_ID: Final = 151671
# The ids that real checkpoints give to the two words of the prompt template.
WORD_IDS: Final = {"user": 872, "assistant": 77091}
_PLAIN_ADDED: Final = (  # added tokens that real tokenizers do not mark as special
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>",
    "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>",
)  # fmt: skip
ADDED_TOKENS: Final = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>", *_PLAIN_ADDED, "<|audio_start|>", "<|audio_end|>", "<tts_pad>", "<tts_text_bos>",
    "<tts_text_eod>",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """Every size that differs between checkpoints. The codec makes 1,920 samples a frame in all of them."""

    model_size: str  # `tts_model_size`: upstream ignores `instruct` for "0b6"
    talker_hidden: int
    talker_intermediate: int
    talker_layers: int
    heads: int  # of talker and predictor
    kv_heads: int
    head_dim: int
    mrope_section: tuple[int, int, int]  # sums to head_dim / 2
    text_hidden: int
    predictor_hidden: int  # if it is not talker_hidden, there is a small_to_mtp_projection
    predictor_intermediate: int
    predictor_layers: int
    speaker_channels: tuple[int, ...]
    speaker_inner: int
    codec_hidden: int
    codec_intermediate: int
    codec_layers: int
    codec_heads: int
    codec_head_dim: int
    latent_dim: int
    codebook_dim: int
    decoder_dim: int
    encoder_hidden: int
    encoder_intermediate: int
    encoder_layers: int
    encoder_heads: int
    encoder_filters: int
    encoder_quantizers: int
    encoder_codebook_dim: int
    # True: an utterance ends by itself, after about ten frames and two or three more for each token of its text (but at
    # once for an in-context clone whose transcript is much too short for its recording).
    # False: it never ends by itself, so that a timing run forces the length.
    ends_itself: bool


TINY: Final = Shape(
    model_size="0b6", talker_hidden=64, talker_intermediate=128, talker_layers=2, heads=4, kv_heads=2, head_dim=16,
    mrope_section=(4, 2, 2), text_hidden=8, predictor_hidden=64, predictor_intermediate=96, predictor_layers=1,
    speaker_channels=(32, 32, 32, 32, 96), speaker_inner=16, codec_hidden=32, codec_intermediate=64, codec_layers=2,
    codec_heads=2, codec_head_dim=16, latent_dim=32, codebook_dim=16, decoder_dim=64, encoder_hidden=32,
    encoder_intermediate=64, encoder_layers=1, encoder_heads=2, encoder_filters=2, encoder_quantizers=16,
    encoder_codebook_dim=8, ends_itself=True,
)  # fmt: skip
FULL_0_6B: Final = Shape(
    model_size="0b6", talker_hidden=1024, talker_intermediate=3072, talker_layers=28, heads=16, kv_heads=8,
    head_dim=128, mrope_section=(24, 20, 20), text_hidden=2048, predictor_hidden=1024, predictor_intermediate=3072,
    predictor_layers=5, speaker_channels=(512, 512, 512, 512, 1536), speaker_inner=128, codec_hidden=512,
    codec_intermediate=1024, codec_layers=8, codec_heads=16, codec_head_dim=64, latent_dim=1024, codebook_dim=512,
    decoder_dim=1536, encoder_hidden=512, encoder_intermediate=2048, encoder_layers=8, encoder_heads=8,
    encoder_filters=64, encoder_quantizers=32, encoder_codebook_dim=256, ends_itself=False,
)  # fmt: skip
FULL_1_7B: Final = replace(FULL_0_6B, model_size="1b7", talker_hidden=2048, talker_intermediate=6144)
# For timings: as the full-size ones, it never ends by itself.
TINY_ENDLESS: Final = replace(TINY, ends_itself=False)
SIZES: Final = {"tiny": TINY, "tiny-endless": TINY_ENDLESS, "full-0.6b": FULL_0_6B, "full-1.7b": FULL_1_7B}


def shape_of(variant: str, size: str = "tiny", projection: bool | None = None) -> Shape:
    """The shape that `build_checkpoint` uses. Without `projection`: as real checkpoints, so only the 1.7B has one."""
    if variant not in VARIANTS:
        raise ValueError(f"variant is {variant!r}; use one of {', '.join(VARIANTS)}")
    if size not in SIZES:
        raise ValueError(f"size is {size!r}; use one of {', '.join(SIZES)}")
    shape = SIZES[size]
    if projection is None:
        return shape
    hidden = shape.talker_hidden // 2 if projection else shape.talker_hidden
    # The tiny checkpoint with a projection stands for the 1.7B, which obeys `instruct`.
    model_size = "1b7" if projection and size == "tiny" else shape.model_size
    return replace(shape, predictor_hidden=hidden, model_size=model_size)


def build_checkpoint(
    folder: str | Path, variant: str, size: str = "tiny", projection: bool | None = None, seed: int = 0
) -> Path:
    """Write a whole checkpoint folder and return it."""
    shape = shape_of(variant, size, projection)
    folder = Path(folder)
    codec = folder / "speech_tokenizer"
    codec.mkdir(parents=True, exist_ok=True)
    config, codec_config = configs_of(shape, variant)
    _write_json(folder / "config.json", config)
    _write_json(folder / "generation_config.json", _GENERATION)
    _write_json(folder / "preprocessor_config.json", _PREPROCESSOR)
    _write_json(codec / "config.json", codec_config)
    _write_json(codec / "preprocessor_config.json", _CODEC_PREPROCESSOR)
    _write_tokenizer(folder)
    _write_tensors(folder / "model.safetensors", _talker_tensors(config, shape, seed))
    _write_tensors(codec / "model.safetensors", _codec_tensors(codec_config, seed))
    return folder


# Configs


def configs_of(shape: Shape, variant: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The dicts of config.json and of speech_tokenizer/config.json."""
    return _config(shape, variant), _codec_config(shape)


def _config(shape: Shape, variant: str) -> dict[str, Any]:
    config: dict[str, Any] = {
        "architectures": ["Qwen3TTSForConditionalGeneration"],
        "model_type": "qwen3_tts",
        "tokenizer_type": "qwen3_tts_tokenizer_12hz",
        "tts_model_size": "1b7" if variant == "voice_design" else shape.model_size,
        "tts_model_type": variant,
        "assistant_token_id": WORD_IDS["assistant"],
        "im_start_token_id": FIRST_ADDED_ID + ADDED_TOKENS.index("<|im_start|>"),
        "im_end_token_id": FIRST_ADDED_ID + ADDED_TOKENS.index("<|im_end|>"),
        "tts_pad_token_id": TTS_PAD_ID,
        "tts_bos_token_id": FIRST_ADDED_ID + ADDED_TOKENS.index("<tts_text_bos>"),
        "tts_eos_token_id": FIRST_ADDED_ID + ADDED_TOKENS.index("<tts_text_eod>"),
        "talker_config": _talker_config(shape, variant),
        # With another version, transformers may choose another text pre-tokenizer.
        "transformers_version": "4.57.3",
    }
    if variant == "base":
        config["speaker_encoder_config"] = _speaker_encoder_config(shape)
    return config


def _talker_config(shape: Shape, variant: str) -> dict[str, Any]:
    speakers = SPEAKER_IDS if variant == "custom_voice" else {}
    return {
        "model_type": "qwen3_tts_talker",
        "hidden_size": shape.talker_hidden,
        "intermediate_size": shape.talker_intermediate,
        "num_hidden_layers": shape.talker_layers,
        **_attention_config(shape),
        "vocab_size": CODEBOOK_SIZE + 1024,
        "text_vocab_size": TEXT_VOCAB_SIZE,
        "text_hidden_size": shape.text_hidden,
        "num_code_groups": 16,
        "rope_scaling": {"interleaved": True, "mrope_section": list(shape.mrope_section), "rope_type": "default"},
        "max_position_embeddings": 32768,
        "position_id_per_seconds": 13,
        "codec_pad_id": 2148,
        "codec_bos_id": 2149,
        "codec_eos_token_id": CODEC_EOS_ID,
        "codec_think_id": 2154,
        "codec_nothink_id": 2155,
        "codec_think_bos_id": 2156,
        "codec_think_eos_id": 2157,
        "codec_language_id": {**LANGUAGE_IDS, **(DIALECT_IDS if variant == "custom_voice" else {})},
        "spk_id": speakers,
        "spk_is_dialect": {name: SPEAKER_DIALECTS.get(name, False) for name in speakers},
        "code_predictor_config": {
            "model_type": "qwen3_tts_talker_code_predictor",
            "hidden_size": shape.predictor_hidden,
            "intermediate_size": shape.predictor_intermediate,
            "num_hidden_layers": shape.predictor_layers,
            **_attention_config(shape),
            "layer_types": ["full_attention"] * shape.predictor_layers,
            "max_window_layers": 28,
            "vocab_size": CODEBOOK_SIZE,
            "num_code_groups": 16,
            "rope_scaling": None,
            "max_position_embeddings": 65536,
        },
    }


def _attention_config(shape: Shape) -> dict[str, Any]:
    return {
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000,
        "attention_bias": False,
        "attention_dropout": 0,
        "initializer_range": 0.02,
        "use_cache": True,
        "use_sliding_window": False,
        "sliding_window": None,
        "tie_word_embeddings": False,
    }


def _speaker_encoder_config(shape: Shape) -> dict[str, Any]:
    # The real files hold these two only; upstream's class takes no unknown key.
    config: dict[str, Any] = {"enc_dim": shape.talker_hidden, "sample_rate": 24000}
    if shape.speaker_channels != FULL_0_6B.speaker_channels:
        config["enc_channels"] = list(shape.speaker_channels)
        config["enc_attention_channels"] = config["enc_se_channels"] = shape.speaker_inner
    return config


def _codec_config(shape: Shape) -> dict[str, Any]:
    return {
        "architectures": ["Qwen3TTSTokenizerV2Model"],
        "model_type": "qwen3_tts_tokenizer_12hz",
        "encoder_valid_num_quantizers": 16,
        "input_sample_rate": 24000,
        "output_sample_rate": 24000,
        "decode_upsample_rate": 1920,
        "encode_downsample_rate": 1920,
        "dtype": "float32",
        "decoder_config": {
            "hidden_size": shape.codec_hidden,
            "intermediate_size": shape.codec_intermediate,
            "num_hidden_layers": shape.codec_layers,
            "num_attention_heads": shape.codec_heads,
            "num_key_value_heads": shape.codec_heads,
            "head_dim": shape.codec_head_dim,
            "latent_dim": shape.latent_dim,
            "codebook_dim": shape.codebook_dim,
            "codebook_size": CODEBOOK_SIZE,
            "decoder_dim": shape.decoder_dim,
            "num_quantizers": 16,
            "num_semantic_quantizers": 1,
            "semantic_codebook_size": 4096,
            "vector_quantization_hidden_dimension": shape.codebook_dim,
            "sliding_window": 72,
            "rope_theta": 10000,
            "rms_norm_eps": 1e-05,
            "hidden_act": "silu",
            "layer_scale_initial_scale": 0.01,
            "max_position_embeddings": 8000,
            "attention_bias": False,
            "attention_dropout": 0.0,
            "upsample_rates": [8, 5, 4, 3],
            "upsampling_ratios": [2, 2],
        },
        "encoder_config": _encoder_config(shape),
    }


def _encoder_config(shape: Shape) -> dict[str, Any]:
    return {
        "model_type": "mimi",
        "sampling_rate": 24000,
        "frame_rate": 12.5,
        "audio_channels": 1,
        "hidden_size": shape.encoder_hidden,
        "num_filters": shape.encoder_filters,
        "num_residual_layers": 1,
        "upsampling_ratios": [8, 6, 5, 4],
        "kernel_size": 7,
        "last_kernel_size": 3,
        "residual_kernel_size": 3,
        "dilation_growth_rate": 2,
        "use_causal_conv": True,
        "pad_mode": "constant",
        "compress": 2,
        "trim_right_ratio": 1.0,
        "codebook_size": CODEBOOK_SIZE,
        "codebook_dim": shape.encoder_codebook_dim,
        "num_quantizers": shape.encoder_quantizers,
        "num_semantic_quantizers": 1,
        "vector_quantization_hidden_dimension": shape.encoder_codebook_dim,
        "upsample_groups": shape.encoder_hidden,
        "use_conv_shortcut": False,
        "num_hidden_layers": shape.encoder_layers,
        "intermediate_size": shape.encoder_intermediate,
        "num_attention_heads": shape.encoder_heads,
        "num_key_value_heads": shape.encoder_heads,
        "head_dim": shape.encoder_hidden // shape.encoder_heads,
        "hidden_act": "gelu",
        "max_position_embeddings": 8000,
        "initializer_range": 0.02,
        "norm_eps": 1e-05,
        "use_cache": False,
        "use_streaming": False,
        "rope_theta": 10000.0,
        "sliding_window": 250,
        "attention_dropout": 0.0,
        "attention_bias": False,
        "layer_scale_initial_scale": 0.01,
    }


_GENERATION: Final = {
    "do_sample": True, "repetition_penalty": 1.05, "temperature": 0.9, "top_p": 1.0, "top_k": 50,
    "subtalker_dosample": True, "subtalker_temperature": 0.9, "subtalker_top_p": 1.0, "subtalker_top_k": 50,
    "max_new_tokens": 8192,
}  # fmt: skip
_PREPROCESSOR: Final = {
    "padding_side": "left", "padding_value": 0.0, "processor_class": "Qwen3TTSProcessor", "return_attention_mask": True,
}  # fmt: skip
_CODEC_PREPROCESSOR: Final = {
    "chunk_length_s": None, "feature_extractor_type": "EncodecFeatureExtractor", "feature_size": 1, "overlap": None,
    "padding_side": "right", "padding_value": 0.0, "return_attention_mask": True, "sampling_rate": 24000,
}  # fmt: skip


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


# Tokenizer


def _write_tokenizer(folder: Path) -> None:
    """Byte-level BPE that knows the 256 bytes and the words of the prompt template. Every other id holds a filler that
    no text can produce, so that all ids are those of the real vocabulary."""
    vocabulary = {character: index for index, character in enumerate(_byte_characters())}
    merges: list[str] = []
    parts: list[str] = []
    for word in WORD_IDS:
        merges += [f"{word[:end]} {word[end]}" for end in range(1, len(word))]
        parts += [word[: end + 1] for end in range(1, len(word) - 1)]
    vocabulary |= {part: len(vocabulary) + index for index, part in enumerate(parts)} | WORD_IDS
    taken = set(vocabulary.values())
    vocabulary |= {f"{index:x}": index for index in range(FIRST_ADDED_ID) if index not in taken}
    vocabulary = dict(sorted(vocabulary.items(), key=lambda item: item[1]))
    text = json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":"))
    (folder / "vocab.json").write_text(text, encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    _write_json(folder / "tokenizer_config.json", _tokenizer_config())


def _byte_characters() -> list[str]:
    """The character that stands for each byte in a byte-level vocabulary, in the order of GPT-2's and Qwen's ids."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = 0x100 - len(printable)
    return [chr(code) for code in [*printable, *range(0x100, 0x100 + rest)]]


def _tokenizer_config() -> dict[str, Any]:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(FIRST_ADDED_ID + index): {"content": token, **flags, "special": token not in _PLAIN_ADDED}
            for index, token in enumerate(ADDED_TOKENS)
        },
        "additional_special_tokens": [token for token in ADDED_TOKENS[1:] if token not in _PLAIN_ADDED],
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 131072,
        "pad_token": "<|endoftext|>",
        "processor_class": "Qwen3TTSProcessor",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }


# Weights


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # save_file leaves it to its owner alone; a container's user may be another


def _talker_tensors(config: dict[str, Any], shape: Shape, seed: int) -> dict[str, Tensor]:
    residual = 1 / math.sqrt(shape.talker_layers)
    gains = {
        "o_proj": residual,
        "down_proj": residual / 2,
        "q_norm": 1.5,  # attention that picks, if unit scale would average the prompt away
        "k_norm": 1.5,
        "codec_head": 2.5,  # logits spread enough for top-k sampling to have favourites
        "lm_head": 2.5,
        "codec_embedding": 0.25,  # the sum of 16 has unit scale
        "speaker_encoder.fc": 0.8,
    }
    tensors = _draw(talker_specs(config), gains, torch.bfloat16, seed)
    # One speaker or language is one position of the prompt: to be heard it must be louder than a code.
    tensors["talker.model.codec_embedding.weight"][CODEBOOK_SIZE:] *= 4
    if (first := tensors.get("speaker_encoder.blocks.0.conv.weight")) is not None:
        # Log-mels sit near -11; without their mean taken off, every voice would get almost the same x-vector.
        first -= first.mean((1, 2), keepdim=True)
    if shape.ends_itself:
        _wire_ending(tensors, shape)
    else:
        tensors["talker.codec_head.weight"][CODEC_EOS_ID] = 0  # an average logit: out of reach for top-k sampling
    return tensors


def _codec_tensors(config: dict[str, Any], seed: int) -> dict[str, Tensor]:
    last = f"decoder.decoder.{len(config['decoder_config']['upsample_rates']) + 2}."
    return _draw(codec_specs(config), {"conv2": 0.3, last: 0.05}, torch.float32, seed)


def _draw(specs: dict[str, TensorSpec], gains: dict[str, float], dtype: torch.dtype, seed: int) -> dict[str, Tensor]:
    """A random tensor for each of `specs`. `gains` scales those whose name contains the key."""
    tensors: dict[str, Tensor] = {}
    for name, spec in specs.items():
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
        noise = torch.empty(spec.shape).normal_(generator=generator)
        gain = math.prod(value for key, value in gains.items() if key in name)
        tensors[name] = (_scaled(name.rpartition(".")[-1], spec, noise) * gain).to(dtype)
    return tensors


def _scaled(name: str, spec: TensorSpec, noise: Tensor) -> Tensor:
    """`noise` at the scale that this parameter needs for outputs near unit scale."""
    if spec.fan_in is not None:
        return noise / math.sqrt(spec.fan_in)
    by_name = {
        "bias": lambda: noise * 0.02,
        "initialized": lambda: torch.ones_like(noise),
        "cluster_usage": lambda: noise.abs() + 0.5,
        "embedding_sum": lambda: noise / math.sqrt(4),
        "embed_sum": lambda: noise,
        "alpha": lambda: noise * 0.2,
        "beta": lambda: noise * 0.2,
        "gamma": lambda: 0.3 + noise * 0.1,  # ConvNeXt
        "scale": lambda: 0.1 + noise * 0.03,  # of a layer's branch
        "weight": lambda: 1 + noise * 0.1,  # a norm
    }
    return by_name[name]()


def _wire_ending(tensors: dict[str, Tensor], shape: Shape) -> None:
    """Make the talker say end-of-speech once padding is about two thirds of the text stream.

    The text stream holds `tts_pad` at every frame after the text is used up, so a longer text ends later, as with real
    weights. One residual channel marks what a position's text is: padding +1, anything else -2. In the last layer one
    attention head without a query, so with equal weights, averages that mark over all positions into a second channel,
    and the end-of-speech row of the head reads that one alone.
    """
    mark, average = shape.talker_hidden - 1, shape.talker_hidden - 2
    for name, tensor in tensors.items():  # nothing else writes to or reads from the two channels
        if "speaker_encoder.fc" in name or name.endswith(("o_proj.weight", "down_proj.weight")):
            if not name.startswith("talker.code_predictor"):
                tensor[average:] = 0
        elif "codec_embedding" in name:
            tensor[:, average:] = 0
    text, hidden = "talker.model.text_embedding.weight", "talker.text_projection.linear_fc1"
    output = "talker.text_projection.linear_fc2"
    tensors[text][:, -1] = 0
    tensors[text][TTS_PAD_ID, -1] = 8.0  # silu(8) is 8
    tensors[f"{hidden}.weight"][-1] = 0
    tensors[f"{hidden}.weight"][-1, -1] = 1
    tensors[f"{hidden}.bias"][-1] = 0
    tensors[f"{output}.weight"][:, -1] = 0
    tensors[f"{output}.weight"][average:] = 0
    tensors[f"{output}.weight"][mark, -1] = 1.5 / 8
    tensors[f"{output}.bias"][average:] = torch.tensor([0.0, -0.5])
    last = f"talker.model.layers.{shape.talker_layers - 1}"
    head = (shape.heads - 1) * shape.head_dim
    value = (shape.kv_heads - 1) * shape.head_dim
    tensors[f"{last}.self_attn.q_proj.weight"][head : head + shape.head_dim] = 0
    tensors[f"{last}.self_attn.v_proj.weight"][value] = 0
    tensors[f"{last}.self_attn.v_proj.weight"][value, mark] = 1
    tensors[f"{last}.self_attn.o_proj.weight"][average, head] = 1
    tensors["talker.codec_head.weight"][:, average:] = 0
    tensors["talker.codec_head.weight"][CODEC_EOS_ID] = 0
    tensors["talker.codec_head.weight"][CODEC_EOS_ID, average] = 100


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a random-weight Qwen3-TTS checkpoint of the real format.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--variant", choices=VARIANTS, required=True)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--projection", action=argparse.BooleanOptionalAction, default=None)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = build_checkpoint(options.folder, options.variant, options.size, options.projection, options.seed)
    sys.stdout.write(f"{folder}\n")


if __name__ == "__main__":
    main()
