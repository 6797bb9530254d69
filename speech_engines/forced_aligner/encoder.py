"""The audio encoder of Qwen3-ASR: convolutions over chunks of a spectrogram, then attention in windows."""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

PREFIX = "thinker.audio_tower."


class AudioEncoder:
    """A spectrogram [bins, F] -> [N, H], about 13 rows a second."""

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        self._config = config
        self._weights = weights
        width = config["d_model"]
        self._chunk = 2 * config["n_window"]
        self._heads = config["encoder_attention_heads"]
        self._positions = _sinusoids(config["max_source_positions"], width)

    def __call__(self, features: Tensor) -> Tensor:
        x, window = self._convolve(features)
        for layer in range(self._config["encoder_layers"]):
            x = self._layer(x, f"layers.{layer}.", window)
        x = self._norm(x, "ln_post")
        return self._linear(F.gelu(self._linear(x, "proj1")), "proj2")

    def _convolve(self, features: Tensor) -> tuple[Tensor, int]:
        """The rows of all chunks [N, width], and the number of rows of an attention window."""
        chunks = features.T.split(self._chunk)
        x = torch.nn.utils.rnn.pad_sequence(list(chunks), batch_first=True).transpose(1, 2)[:, None]
        for number in (1, 2, 3):
            weight, bias = (self._weights[f"{PREFIX}conv2d{number}.{part}"] for part in ("weight", "bias"))
            x = F.gelu(F.conv2d(x.to(weight.dtype), weight, bias, stride=2, padding=1))
        x = self._linear(x.permute(0, 3, 1, 2).flatten(2), "conv_out")  # [chunks, t, width]
        x = x + self._positions[: x.shape[1]].to(x)
        window = x.shape[1] * (self._config["n_window_infer"] // self._chunk)
        return torch.cat([rows[: rows_of(len(chunk))] for rows, chunk in zip(x, chunks, strict=True)]), window

    def _layer(self, x: Tensor, name: str, window: int) -> Tensor:
        x = x + self._attend(self._norm(x, f"{name}self_attn_layer_norm"), f"{name}self_attn.", window)
        hidden = F.gelu(self._linear(self._norm(x, f"{name}final_layer_norm"), f"{name}fc1"))
        return x + self._linear(hidden, f"{name}fc2")

    def _attend(self, x: Tensor, name: str, window: int) -> Tensor:
        heads = (self._linear(x, f"{name}{part}_proj").unflatten(-1, (self._heads, -1)) for part in "qkv")
        parts = zip(*(each.transpose(0, 1)[None].split(window, 2) for each in heads), strict=True)
        attended = torch.cat([F.scaled_dot_product_attention(q, k, v) for q, k, v in parts], 2)[0]
        return self._linear(attended.transpose(0, 1).flatten(1), f"{name}out_proj")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._weights[f"{PREFIX}{name}.weight"], self._weights.get(f"{PREFIX}{name}.bias"))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = (self._weights[f"{PREFIX}{name}.{part}"] for part in ("weight", "bias"))
        return F.layer_norm(x, weight.shape, weight, bias)


def rows_of(frames: int) -> int:
    """The number of rows for a chunk of spectrogram frames: 13 for each 100."""
    rest = frames % 100
    halved = (rest - 1) // 2 + 1
    return ((halved - 1) // 2 + 1 - 1) // 2 + 1 + frames // 100 * 13


def _sinusoids(length: int, width: int) -> Tensor:
    steps = torch.exp(-math.log(10_000) / (width // 2 - 1) * torch.arange(width // 2).float())
    angles = torch.arange(length)[:, None] * steps
    return torch.cat((angles.sin(), angles.cos()), 1)
