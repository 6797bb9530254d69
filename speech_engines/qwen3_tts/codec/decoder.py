"""The decoder half of the codec: frames of 16 codes to samples, a chunk at a time, for many streams at once, exactly.

The samples do not depend on the split into chunks or on the batch, except for rounding: sums of more streams may be in
another order. The weights are read directly from the checkpoint, and consecutive linear steps are folded.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from speech_engines.qwen3_tts.codec.layers import (
    BlockedLinear,
    CausalConv,
    DepthwiseConv,
    ExitConv,
    FastConv,
    ResidualUnit,
    Snake,
    SnakeConv,
    TransformerLayer,
    Upsampling,
    UpsamplingStage,
    by_stride,
    inverse_beta,
    rms_norm,
)
from speech_engines.qwen3_tts.codec.state import CodecCall, Convolution, Rows, State, StreamState, Window
from speech_engines.qwen3_tts.model.weights import read_tensors, side_by_side
from speech_protocol.audio import FRAME_SAMPLES

# Longer chunks pass through the layers in pieces: the activations of this many frames fit the caches of a CPU. On a GPU
# they limit the memory of a call; batches are split separately, see `bucketed`.
_CALL_FRAMES: Final = {"cpu": 12, "cuda": 8}
# Of each stream, however many there are: a single frame costs a tenth more, as each call reads all weights.
_LEAST_FRAMES: Final = 2
_DILATIONS: Final = (1, 3, 9)
C = TypeVar("C", bound=Convolution)


class Codec:
    """Streams are numbered slots, each at its own frame of its own utterance. For one thread at a time."""

    frame_samples: int = FRAME_SAMPLES

    def __init__(self, weights: "_Weights") -> None:
        config = weights.config
        self._epsilon: float = config["rms_norm_eps"]
        self._codebooks = weights.codebooks()  # [16 * size, C]
        self._offsets = torch.arange(config["num_quantizers"], device=self._codebooks.device) * config["codebook_size"]
        self._entrance = weights.entrance()
        self._window = weights.window()
        self._transformer = [weights.transformer_layer(index) for index in range(config["num_hidden_layers"])]
        self._upsampling = [weights.upsampling_stage(*stage) for stage in enumerate(config["upsampling_ratios"])]
        self._decoder_entrance = weights.conv("decoder.0.conv")
        self._decoder = [layer for block in enumerate(config["upsample_rates"], 1) for layer in weights.block(*block)]
        self._exit = weights.exit(len(config["upsample_rates"]) + 1)
        self._convolutions = weights.convolutions

    @torch.inference_mode()
    def allocate(self, max_streams: int) -> None:
        """Allocate the state between calls for `streams` streams."""
        self._state = self._new_state(max_streams)

    @classmethod
    def load(
        cls,
        folder: Path,
        device: torch.device,
        max_streams: int,
        dtype: torch.dtype = torch.float32,
        *,
        exact: bool = True,
    ) -> Self:
        """The codec of the checkpoint in `folder`, with state for `max_streams` streams."""
        codec = cls.read(folder, device, dtype, exact=exact)
        codec.allocate(max_streams)
        return codec

    @classmethod
    def read(
        cls, folder: Path, device: torch.device, dtype: torch.dtype = torch.float32, *, exact: bool = True
    ) -> Self:
        """The codec without stream state: see `allocate`. If not `exact`, a CPU has its large weights in fp16."""
        codec = Path(folder) / "speech_tokenizer"
        config = json.loads((codec / "config.json").read_text(encoding="utf-8"))["decoder_config"]
        with torch.inference_mode():
            read = read_tensors(codec, "decoder.", device)
            tensors = {name.removeprefix("decoder."): tensor.to(dtype) for name, tensor in read}
            return cls(_Weights(tensors, config, exact))

    @property
    def stream_bytes(self) -> int:
        """The size of a stream's state in bytes."""
        window, item = self._window, self._codebooks.itemsize
        histories = sum(convolution.past * convolution.channels for convolution in self._convolutions)
        frames = window.size - 1 + window.call_frames
        return (histories + len(self._transformer) * 2 * window.heads * frames * window.head_dim) * item

    def call_bytes(self, streams: int, frames: int) -> int:
        """An upper bound on the activations of a call, in bytes: ten times the last layer's input, the largest of
        all."""
        channels = self._convolutions[-1].channels
        return streams * frames * self.frame_samples * channels * self._codebooks.itemsize * 10

    @torch.inference_mode()
    def reset(self, stream: int) -> None:
        """Start an utterance in that slot."""
        self._state.reset(stream)

    @torch.inference_mode()
    def restore(self, stream: int, state: StreamState) -> None:
        """Continue that slot from `state` instead of resetting it."""
        self._state.restore(stream, state)

    @torch.inference_mode()
    def decode(self, streams: Sequence[int] | Tensor, codes: Tensor) -> Tensor:
        """The next frames of each stream: [B] slots, [B, T, 16] codes -> [B, T * 1920] samples in -1..1."""
        rows: Rows
        if isinstance(streams, Tensor):
            rows = streams
        elif list(streams) == list(range(streams[0], streams[0] + len(streams))):
            rows = slice(streams[0], streams[0] + len(streams))
        else:
            rows = torch.as_tensor(streams, device=self._codebooks.device)
        return self._decode(self._state, rows, codes)

    @torch.inference_mode()
    def decode_whole(self, codes: Tensor) -> Tensor:
        """Whole utterances, independent of the streams' states: [B, T, 16] codes -> [B, T * 1920] samples in -1..1."""
        return self._decode(self._new_state(len(codes)), slice(None), codes)

    @torch.inference_mode()
    def state_after(self, codes: Tensor) -> StreamState:
        """The state after `codes`, [R, 16], for streams that continue them. Thread-safe beside `decode`."""
        state = self._new_state(1)
        self._decode(state, slice(None), codes[None])
        return state.save(0, len(codes))

    def _new_state(self, streams: int) -> State:
        return State(streams, self._convolutions, len(self._transformer), self._window, self._codebooks)

    def _decode(self, state: State, rows: Rows, codes: Tensor) -> Tensor:
        frames = self._window.call_frames
        if codes.is_cpu:  # of all streams together
            frames = max(_LEAST_FRAMES, frames // len(codes))
        return torch.cat([self._call(state, rows, chunk) for chunk in codes.split(frames, 1)], 1)

    def _call(self, state: State, rows: Rows, codes: Tensor) -> Tensor:
        call = CodecCall(state, rows, codes.shape[1], self._window)
        entries = (codes + self._offsets).flatten(0, 1)  # [B * T, 16]
        x = F.embedding_bag(entries, self._codebooks, mode="sum").unflatten(0, codes.shape[:2])  # [B, T, C]
        x = call.convolve(self._entrance, x)
        for attention in self._transformer:
            x = attention(x, call, self._window)
        x = rms_norm(x, self._epsilon)
        for stage in self._upsampling:
            x = stage(x, call)
        x = call.convolve(self._decoder_entrance, x)
        for layer in self._decoder:
            x = layer(x, call)
        x = self._exit(x, call)  # [B, T * 1920, 1]
        call.end()
        return x.squeeze(-1).clamp_(-1, 1).float()


class _Weights:
    """Builds layers from a checkpoint's tensors, and records the convolutions."""

    def __init__(self, tensors: dict[str, Tensor], config: dict[str, Any], exact: bool) -> None:
        self.config, self._exact = config, exact
        self.convolutions: list[Convolution] = []
        self._tensors = tensors
        self._lack: Tensor | float = 0.0  # see Snake: of the activations after the last layer that was built

    def codebooks(self) -> Tensor:
        """Every code's vector after the output projection of its quantizer: a frame is the sum of 16 of them."""
        first = [self._codebook("quantizer.rvq_first", 0)]
        rest = [self._codebook("quantizer.rvq_rest", index) for index in range(self.config["num_quantizers"] - 1)]
        return torch.cat(first + rest)

    def _codebook(self, quantizer: str, index: int) -> Tensor:
        name = f"{quantizer}.vq.layers.{index}._codebook"
        usage = self._tensors[f"{name}.cluster_usage"].clamp(min=1e-5)
        entries = self._tensors[f"{name}.embedding_sum"] / usage[:, None]
        return entries @ self._tensors[f"{quantizer}.output_proj.weight"].squeeze(-1).t()

    def entrance(self) -> CausalConv:
        """The convolution after the quantizer, and the transformer's input projection."""
        weight, bias = self._pair("pre_conv.conv")  # [out, in, taps]
        project, offset = self._pair("pre_transformer.input_proj")
        return self._keep(
            CausalConv(torch.einsum("po,oit->pit", project, weight), project @ bias + offset, exact=self._exact)
        )

    def window(self) -> Window:
        config = self.config
        half = config["head_dim"] // 2
        device = next(iter(self._tensors.values())).device
        frequencies = config["rope_theta"] ** -(torch.arange(half, device=device) / half)
        return Window(
            size=config["sliding_window"],
            call_frames=_CALL_FRAMES[device.type],
            heads=config["num_attention_heads"],
            head_dim=config["head_dim"],
            frequencies=frequencies,
        )

    def transformer_layer(self, index: int) -> TransformerLayer:
        layer = f"pre_transformer.layers.{index}"
        weight = {
            name: self._tensors[f"{layer}.{part}.{name}.weight"]
            for part, names in {
                "self_attn": "q_proj k_proj v_proj o_proj",
                "mlp": "gate_proj up_proj down_proj",
            }.items()
            for name in names.split()
        }
        before, between = (self._tensors[f"{layer}.{name}_layernorm.weight"] for name in ("input", "post_attention"))
        attention, mlp = (self._tensors[f"{layer}.{name}_layer_scale.scale"] for name in ("self_attn", "mlp"))
        queries, keys = (side_by_side(weight[name], self.config["head_dim"]) for name in ("q_proj", "k_proj"))
        return TransformerLayer(
            index=index,
            epsilon=self.config["rms_norm_eps"],
            qkv=self._linear(torch.cat((queries, keys, weight["v_proj"])) * before),
            output=self._linear(weight["o_proj"] * attention[:, None]),
            gate_up=self._linear(torch.cat((weight["gate_proj"], weight["up_proj"])) * between),
            down=self._linear(weight["down_proj"] * mlp[:, None]),
        )

    def upsampling_stage(self, index: int, ratio: int) -> UpsamplingStage:
        weight, bias = self._pair(f"upsample.{index}.0.conv")
        expand, offset = by_stride(weight, ratio).squeeze(-1), bias.repeat(ratio)
        if index == 0:  # the transformer's last norm and output projection
            project, shift = self._pair("pre_transformer.output_proj")
            offset = offset + expand @ shift
            expand = expand @ project * self._tensors["pre_transformer.norm.weight"]
        block = f"upsample.{index}.1"
        scale = self._tensors[f"{block}.gamma"]
        shrink, constant = self._pair(f"{block}.pwconv2")
        return UpsamplingStage(
            expand=self._linear(expand, offset),
            depthwise=self._keep(DepthwiseConv(*self._pair(f"{block}.dwconv.conv"))),
            norm=self._pair(f"{block}.norm"),
            grow=self._linear(*self._pair(f"{block}.pwconv1")),
            shrink=self._linear(shrink * scale[:, None], constant * scale),
        )

    def block(self, index: int, rate: int) -> list[SnakeConv | ResidualUnit]:
        name = f"decoder.{index}.block"
        snake, (weight, bias) = self._snake(f"{name}.0"), self._pair(f"{name}.1.conv")
        weight = by_stride(weight, rate)
        bias = bias.repeat(rate) + _constant(weight, snake.pending_offset)
        upsampling = self._keep(Upsampling(weight, bias, rate, -snake.pending_offset, exact=self._exact))
        self._lack = 0.0
        return [SnakeConv(snake, upsampling)] + [
            self._unit(f"{name}.{place}", dilation) for place, dilation in enumerate(_DILATIONS, 2)
        ]

    def _unit(self, name: str, dilation: int) -> ResidualUnit:
        snake = self._snake(f"{name}.act1")
        factor = 2 * self._tensors[f"{name}.act2.alpha"].exp()
        weight, bias = self._pair(f"{name}.conv1.conv")
        bias = (bias + _constant(weight, snake.pending_offset)) * factor
        weight, start = weight * factor[:, None, None], -snake.pending_offset
        conv = self._keep(FastConv(weight, bias, dilation, start, exact=self._exact))
        pointwise, offset = self._pair(f"{name}.conv2.conv")
        half = inverse_beta(self._tensors[f"{name}.act2.beta"]) / 2
        self._lack = offset + _constant(pointwise, half) + self._lack
        return ResidualUnit(snake, conv, -factor * half, (pointwise.squeeze(-1) / factor).t().contiguous())

    def exit(self, index: int) -> SnakeConv:
        snake, (weight, bias) = self._snake(f"decoder.{index}"), self._pair(f"decoder.{index + 1}.conv")
        bias = bias + _constant(weight, snake.pending_offset)
        return SnakeConv(snake, self._keep(ExitConv(weight, bias, -snake.pending_offset)))

    def conv(self, name: str) -> CausalConv:
        return self._keep(CausalConv(*self._pair(name), exact=self._exact))

    def _linear(self, weight: Tensor, bias: Tensor | None = None) -> BlockedLinear:
        return BlockedLinear(weight, bias, exact=self._exact)

    def _snake(self, name: str) -> Snake:
        tensors = self._tensors
        return Snake(tensors[f"{name}.alpha"].exp(), inverse_beta(tensors[f"{name}.beta"]), self._lack)

    def _pair(self, name: str) -> tuple[Tensor, Tensor]:
        return self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"]

    def _keep(self, convolution: C) -> C:
        self.convolutions.append(convolution)
        return convolution


def _constant(weight: Tensor, value: Tensor) -> Tensor:
    """The output of a convolution for the constant input `value`: [out, in, taps], [in] -> [out]."""
    return torch.einsum("oik,i->o", weight, value)
