"""The decoder layers shared by talker and code predictor."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from speech_engines.qwen3_tts.model.config import StackConfig
from speech_engines.qwen3_tts.model.kv_cache import Attend
from speech_engines.qwen3_tts.model.weights import Weights, build_layers, side_by_side, take


class Rope:
    """Rotary embedding as a table of complex numbers. The talker has three position ids for each position (time,
    height, width); in speech they are equal, which makes it the plain one."""

    def __init__(self, config: StackConfig, positions: int, device: torch.device) -> None:
        exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
        angles = torch.arange(positions, dtype=torch.float32)[:, None] / config.rope_theta**exponents
        self._turns = torch.complex(angles.cos(), angles.sin()).to(device)  # [positions, head_dim / 2]

    def at(self, positions: Tensor | slice, repeats: int = 1) -> Tensor:
        """[M, 1, head_dim / 2] of these positions, `repeats` times over."""
        turns: Tensor = self._turns[positions]
        return turns.repeat(repeats, 1)[:, None]


class Norm:
    """The root-mean-square norm of the last dimension, times `weight` [..., width]."""

    def __init__(self, weight: Tensor, epsilon: float) -> None:
        width = weight.shape[-1]
        self._shape, self._weight, self._epsilon = (width,), weight, epsilon
        self._is_cpu = weight.device.type == "cpu"
        if self._is_cpu:
            # The same in half as many operations: x / sqrt(|x|^2 + width * epsilon) * (weight * sqrt(width))
            self._floor = torch.tensor((width * epsilon) ** 0.5, dtype=weight.dtype)
            self._weight = weight * width**0.5

    def __call__(self, x: Tensor) -> Tensor:
        if self._is_cpu:
            return (x / torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), self._floor)).mul_(self._weight)
        if self._weight.dim() == 1:
            return F.rms_norm(x, self._shape, self._weight, self._epsilon)
        return F.rms_norm(x, self._shape, None, self._epsilon) * self._weight


class Layer:
    """Attention and feed-forward, each with a norm before and a residual around it."""

    def __init__(self, config: StackConfig, weights: Weights, prefix: str, dtype: torch.dtype) -> None:
        attention, mlp = f"{prefix}.self_attn", f"{prefix}.mlp"
        self._heads, self._turning = config.heads, config.heads + config.kv_heads
        self._shape = (-1, config.heads + 2 * config.kv_heads, config.head_dim)
        self._complex = (-1, config.heads + 2 * config.kv_heads, config.head_dim // 2, 2)
        q, k, v = (take(weights, f"{attention}.{name}_proj.weight") for name in "qkv")
        q, k = side_by_side(q, config.head_dim), side_by_side(k, config.head_dim)
        self._qkv = weights.linear(torch.cat((q, k, v)))
        self._add_attended = weights.adding(take(weights, f"{attention}.o_proj.weight"))
        self._gate_up = weights.linear(take(weights, f"{mlp}.gate_proj.weight", f"{mlp}.up_proj.weight"))
        self._add_fed = weights.adding(take(weights, f"{mlp}.down_proj.weight"))
        epsilon = config.rms_norm_eps
        self._norm = Norm(take(weights, f"{prefix}.input_layernorm.weight").to(dtype), epsilon)
        self._mlp_norm = Norm(take(weights, f"{prefix}.post_attention_layernorm.weight").to(dtype), epsilon)
        q_norm, k_norm = (
            side_by_side(take(weights, f"{attention}.{name}_norm.weight"), config.head_dim).expand(heads, -1)
            for name, heads in (("q", config.heads), ("k", config.kv_heads))
        )
        # [heads + 2 * kv_heads, head_dim]: the norm of the values is not used, but spares a copy of the others.
        # In float32, so that what it gives can be seen as complex numbers.
        self._qk_norm = Norm(torch.cat((q_norm, k_norm, k_norm)).float(), epsilon)

    def __call__(self, index: int, x: Tensor, rope: Tensor, attend: Attend) -> None:
        """Adds to `x`, in place."""
        qkv = self._qkv(self._norm(x)).view(self._shape)  # [M, heads + 2 * kv_heads, head_dim]
        normed = self._qk_norm(qkv)
        torch.view_as_complex(normed.view(self._complex)).mul_(rope)
        qkv[:, : self._turning] = normed[:, : self._turning]
        self._add_attended(x, attend(index, qkv[:, : self._heads], qkv[:, self._heads :]))
        gate, up = self._gate_up(self._mlp_norm(x)).chunk(2, -1)
        self._add_fed(x, F.silu(gate) * up)


class Stack:
    """All layers and the last norm: x [M, hidden], or [1, M, hidden] of a prompt (see Linear) -> the same shape. The
    layers write into x."""

    def __init__(self, config: StackConfig, weights: Weights, prefix: str, dtype: torch.dtype) -> None:
        norm = take(weights, f"{prefix}.norm.weight").to(dtype)
        self._norm = Norm(norm, config.rms_norm_eps)
        self._layers = build_layers(
            lambda index: Layer(config, weights, f"{prefix}.layers.{index}", dtype), config.layers, norm.device
        )

    def __call__(self, x: Tensor, rope: Tensor, attend: Attend) -> Tensor:
        for index, layer in enumerate(self._layers):
            layer(index, x, rope, attend)
        return self._norm(x)
