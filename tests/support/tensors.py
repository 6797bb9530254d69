"""Name and shape of every tensor in a Qwen3-TTS checkpoint, for any sizes, without the upstream classes.

`tests/speech_engines/test_checkpoints.py` compares them with what those classes expect. A machine that has torch and
safetensors only can so make the checkpoints that it measures.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

MEL_BINS: Final = 128
RES2NET_SCALE: Final = 8
SNAKE_DILATIONS: Final = 3
MIMI_KERNEL: Final = 7
Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """`fan_in`: how many inputs one output of this weight sums up; None if it is no weight of a product."""

    shape: tuple[int, ...]
    fan_in: float | None = None


Specs = dict[str, TensorSpec]


def talker_specs(config: Config) -> Specs:
    """Of model.safetensors, from the dict of config.json."""
    talker = config["talker_config"]
    predictor, hidden, text = talker["code_predictor_config"], talker["hidden_size"], talker["text_hidden_size"]
    books = range(talker["num_code_groups"] - 1)
    specs = _named(
        "talker",
        _named("model", _decoder(talker, ("q_norm", "k_norm"))),
        _named("model.codec_embedding", _embedding(talker["vocab_size"], hidden)),
        _named("model.text_embedding", _embedding(talker["text_vocab_size"], text)),
        _named("text_projection.linear_fc1", _linear(text, text, bias=True)),
        _named("text_projection.linear_fc2", _linear(hidden, text, bias=True)),
        _named("codec_head", _linear(talker["vocab_size"], hidden)),
    )
    specs |= _named(
        "talker.code_predictor",
        _named("model", _decoder(predictor, ("q_norm", "k_norm"))),
        *(_named(f"model.codec_embedding.{book}", _embedding(predictor["vocab_size"], hidden)) for book in books),
        *(_named(f"lm_head.{book}", _linear(predictor["vocab_size"], predictor["hidden_size"])) for book in books),
    )
    if predictor["hidden_size"] != hidden:
        projection = _linear(predictor["hidden_size"], hidden, bias=True)
        specs |= _named("talker.code_predictor.small_to_mtp_projection", projection)
    if "speaker_encoder_config" in config:
        specs |= _named("speaker_encoder", _speaker_encoder(config["speaker_encoder_config"]))
    return specs


def codec_specs(config: Config) -> Specs:
    """Of speech_tokenizer/model.safetensors, from the dict of the config.json beside it."""
    decoder, encoder = config["decoder_config"], config["encoder_config"]
    return _named("decoder", _codec_decoder(decoder)) | _named("encoder", _codec_encoder(encoder))


# Layers


def _named(prefix: str, *parts: Specs) -> Specs:
    return {f"{prefix}.{name}": spec for part in parts for name, spec in part.items()}


def _linear(out: int, inputs: int, *, bias: bool = False) -> Specs:
    return {"weight": TensorSpec((out, inputs), inputs)} | ({"bias": TensorSpec((out,))} if bias else {})


def _embedding(entries: int, width: int) -> Specs:
    return {"weight": TensorSpec((entries, width), 1)}


def _norm(width: int, *, bias: bool = False) -> Specs:
    return {"weight": TensorSpec((width,))} | ({"bias": TensorSpec((width,))} if bias else {})


def _conv(out: int, inputs: int, kernel: int, *, bias: bool = True) -> Specs:
    weight = {"weight": TensorSpec((out, inputs, kernel), inputs * kernel)}
    return weight | ({"bias": TensorSpec((out,))} if bias else {})


def _transposed_conv(out: int, inputs: int, kernel: int, stride: int) -> Specs:
    return {"weight": TensorSpec((inputs, out, kernel), inputs * kernel / stride), "bias": TensorSpec((out,))}


def _snake(width: int) -> Specs:
    return {"alpha": TensorSpec((width,)), "beta": TensorSpec((width,))}


def _attention(config: Config) -> Specs:
    hidden, head = config["hidden_size"], config["head_dim"]
    heads, kv_heads = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    return _named(
        "self_attn",
        _named("q_proj", _linear(heads, hidden)),
        _named("k_proj", _linear(kv_heads, hidden)),
        _named("v_proj", _linear(kv_heads, hidden)),
        _named("o_proj", _linear(hidden, heads)),
    )


def _mlp(config: Config, up: Iterable[str], down: str) -> Specs:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    ups = (_named(name, _linear(inner, hidden)) for name in up)
    return _named("mlp", *ups, _named(down, _linear(hidden, inner)))


def _decoder(config: Config, head_norms: Iterable[str] = (), scales: Iterable[str] = ()) -> Specs:
    """Layers as of Qwen3, and the norm behind them."""
    hidden = config["hidden_size"]
    layer = _attention(config) | _mlp(config, ("gate_proj", "up_proj"), "down_proj")
    for name in head_norms:
        layer |= _named(f"self_attn.{name}", _norm(config["head_dim"]))
    for name in ("input_layernorm", "post_attention_layernorm"):
        layer |= _named(name, _norm(hidden))
    layer |= {f"{name}.scale": TensorSpec((hidden,)) for name in scales}
    layers = (_named(f"layers.{index}", layer) for index in range(config["num_hidden_layers"]))
    return {name: spec for part in layers for name, spec in part.items()} | _named("norm", _norm(hidden))


# Speaker encoder


def _speaker_encoder(config: Config) -> Specs:
    """ECAPA-TDNN; upstream's sizes if the config is silent, as in real checkpoints."""
    first, *middle, last = config.get("enc_channels", (512, 512, 512, 512, 1536))
    attention, inner = config.get("enc_attention_channels", 128), config.get("enc_se_channels", 128)
    specs = _named("blocks.0.conv", _conv(first, MEL_BINS, 5))
    width = first
    for index, out in enumerate(middle, 1):
        specs |= _named(f"blocks.{index}", _speaker_block(width, out, inner))
        width = out
    return (
        specs
        | _named("mfa.conv", _conv(last, sum(middle), 1))
        | _named("fc", _conv(config["enc_dim"], 2 * last, 1))
        | _named("asp", _named("tdnn.conv", _conv(attention, 3 * last, 1)), _named("conv", _conv(last, attention, 1)))
    )


def _speaker_block(inputs: int, out: int, inner: int) -> Specs:
    part = out // RES2NET_SCALE
    return (
        _named("tdnn1.conv", _conv(out, inputs, 1))
        | _named("tdnn2.conv", _conv(out, out, 1))
        | _named("se_block", _named("conv1", _conv(inner, out, 1)), _named("conv2", _conv(out, inner, 1)))
        | _named(
            "res2net_block.blocks",
            *(_named(f"{index}.conv", _conv(part, part, 3)) for index in range(RES2NET_SCALE - 1)),
        )
    )


# Codec


def _codec_decoder(config: Config) -> Specs:
    hidden, latent = config["hidden_size"], config["latent_dim"]
    specs = _named(
        "pre_transformer",
        _decoder(config, scales=("self_attn_layer_scale", "mlp_layer_scale")),
        _named("input_proj", _linear(hidden, latent, bias=True)),
        _named("output_proj", _linear(latent, hidden, bias=True)),
    )
    semantic, width = config["num_semantic_quantizers"], config["codebook_dim"]
    for name, count in (("rvq_first", semantic), ("rvq_rest", config["num_quantizers"] - semantic)):
        books = {"cluster_usage": (config["codebook_size"],), "embedding_sum": (config["codebook_size"], width // 2)}
        specs |= _named(
            f"quantizer.{name}",
            _quantizer(width, width // 2, books, (f"vq.layers.{index}._codebook" for index in range(count))),
        )
    specs |= _named("pre_conv.conv", _conv(latent, width, 3))
    for index, ratio in enumerate(config["upsampling_ratios"]):
        specs |= _named(f"upsample.{index}.0.conv", _transposed_conv(latent, latent, ratio, ratio))
        specs |= _named(f"upsample.{index}.1", _conv_next(latent))
    return specs | _named("decoder", _vocoder(config))


def _quantizer(width: int, inner: int, books: Mapping[str, tuple[int, ...]], layers: Iterable[str]) -> Specs:
    codebook = {name: TensorSpec(shape) for name, shape in books.items()}
    return (
        _named("input_proj", _conv(inner, width, 1, bias=False))
        | _named("output_proj", _conv(width, inner, 1, bias=False))
        | {name: spec for layer in layers for name, spec in _named(layer, codebook).items()}
    )


def _conv_next(width: int) -> Specs:
    return {"gamma": TensorSpec((width,))} | {
        name: spec
        for layer, part in (
            ("dwconv.conv", _conv(width, 1, 7)),
            ("norm", _norm(width, bias=True)),
            ("pwconv1", _linear(4 * width, width, bias=True)),
            ("pwconv2", _linear(width, 4 * width, bias=True)),
        )
        for name, spec in _named(layer, part).items()
    }


def _vocoder(config: Config) -> Specs:
    width, rates = config["decoder_dim"], config["upsample_rates"]
    specs = _named("0.conv", _conv(width, config["latent_dim"], 7))
    for index, rate in enumerate(rates, 1):
        half = width // 2
        unit = _named("act1", _snake(half)) | _named("conv1.conv", _conv(half, half, 7))
        unit |= _named("act2", _snake(half)) | _named("conv2.conv", _conv(half, half, 1))
        specs |= _named(
            f"{index}.block",
            _named("0", _snake(width)),
            _named("1.conv", _transposed_conv(half, width, 2 * rate, rate)),
            *(_named(str(2 + number), unit) for number in range(SNAKE_DILATIONS)),
        )
        width = half
    return specs | _named(str(len(rates) + 1), _snake(width)) | _named(f"{len(rates) + 2}.conv", _conv(1, width, 7))


def _codec_encoder(config: Config) -> Specs:
    """Mimi's."""
    hidden, semantic = config["hidden_size"], config["num_semantic_quantizers"]
    layer = _attention(config) | _mlp(config, ("fc1",), "fc2")
    for name in ("input_layernorm", "post_attention_layernorm"):
        layer |= _named(name, _norm(hidden, bias=True))
    layer |= {f"{name}.scale": TensorSpec((hidden,)) for name in ("self_attn_layer_scale", "mlp_layer_scale")}
    layers = (_named(f"layers.{index}", layer) for index in range(config["num_hidden_layers"]))
    specs = _named("encoder.layers", _mimi_convolutions(config)) | _named("encoder_transformer", *layers)
    specs |= _named("downsample.conv", _conv(hidden, hidden, 4, bias=False))
    size, width = config["codebook_size"], config["codebook_dim"]
    books = {"initialized": (1,), "cluster_usage": (size,), "embed_sum": (size, width)}
    for name, count in (("semantic", semantic), ("acoustic", config["num_quantizers"] - semantic)):
        names = (f"layers.{index}.codebook" for index in range(count))
        specs |= _named(f"quantizer.{name}_residual_vector_quantizer", _quantizer(hidden, width, books, names))
    return specs


def _mimi_convolutions(config: Config) -> Specs:
    """A sequence in which each activation takes an index, too."""
    width = config["num_filters"]
    specs = _named("0.conv", _conv(width, config["audio_channels"], MIMI_KERNEL))
    index = 1
    for ratio in reversed(config["upsampling_ratios"]):
        inner = width // config["compress"]
        specs |= _named(f"{index}.block.1.conv", _conv(inner, width, config["residual_kernel_size"]))
        specs |= _named(f"{index}.block.3.conv", _conv(width, inner, 1))
        specs |= _named(f"{index + 2}.conv", _conv(2 * width, width, 2 * ratio))
        index, width = index + 3, 2 * width
    return specs | _named(f"{index + 1}.conv", _conv(config["hidden_size"], width, config["last_kernel_size"]))
