"""The stack of decoder layers that talker and code predictor both are."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from speech_engines.qwen3_tts.kv_cache import Attend
from speech_engines.qwen3_tts.model_config import StackConfig
from speech_engines.qwen3_tts.weights import build_layers, make_linear, take


class Rope:
    """Rotary embedding as a table. The talker's has three position ids for each position (time, height, width); in
    speech they are equal, which makes it the plain one."""

    def __init__(self, config: StackConfig, positions: int, device: torch.device, dtype: torch.dtype) -> None:
        exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
        angles = torch.arange(positions, dtype=torch.float32)[:, None] / config.rope_theta**exponents
        sin = angles.sin()
        self.cos = torch.cat((angles, angles), -1).cos().to(device, dtype)  # [positions, head_dim]
        # The first half of a head turns by -sin: with the sign in the table, turning needs no negation.
        self.sin = torch.cat((-sin, sin), -1).to(device, dtype)

    def at(self, positions: Tensor | slice, repeats: int = 1) -> tuple[Tensor, Tensor]:
        """cos and sin [M, 1, head_dim] of these positions, `repeats` times over."""
        cos, sin = self.cos[positions], self.sin[positions]
        return cos.repeat(repeats, 1)[:, None], sin.repeat(repeats, 1)[:, None]


class Layer:
    """Attention and feed-forward, each with its norm before and its residual around."""

    def __init__(self, config: StackConfig, weights: dict[str, Tensor], prefix: str, dtype: torch.dtype) -> None:
        attention, mlp = f"{prefix}.self_attn", f"{prefix}.mlp"
        self._heads, self._kv_heads, self._eps = config.heads, config.kv_heads, config.rms_norm_eps
        self._head_dim, self._width = config.head_dim, config.hidden_size
        self._qkv = make_linear(take(weights, *(f"{attention}.{name}_proj.weight" for name in "qkv")))
        self._out = make_linear(take(weights, f"{attention}.o_proj.weight"))
        self._gate_up = make_linear(take(weights, f"{mlp}.gate_proj.weight", f"{mlp}.up_proj.weight"))
        self._down = make_linear(take(weights, f"{mlp}.down_proj.weight"))
        self._norm = take(weights, f"{prefix}.input_layernorm.weight").to(dtype)
        self._mlp_norm = take(weights, f"{prefix}.post_attention_layernorm.weight").to(dtype)
        q_norm = take(weights, f"{attention}.q_norm.weight").expand(config.heads, -1)
        k_norm = take(weights, f"{attention}.k_norm.weight").expand(config.kv_heads, -1)
        self._qk_norm = torch.cat((q_norm, k_norm)).to(dtype)  # [heads + kv_heads, head_dim]

    def __call__(self, index: int, x: Tensor, rope: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        normed = F.rms_norm(x, (self._width,), self._norm, self._eps)
        qkv = self._qkv(normed).view(len(x), -1, self._head_dim)  # [M, heads + 2 * kv_heads, head_dim]
        qk, v = qkv.split_with_sizes((self._heads + self._kv_heads, self._kv_heads), 1)
        qk = turn(F.rms_norm(qk, (self._head_dim,), None, self._eps) * self._qk_norm, rope)
        q, k = qk.split_with_sizes((self._heads, self._kv_heads), 1)
        x = x + self._out(attend(index, q, k, v))
        gate, up = self._gate_up(F.rms_norm(x, (self._width,), self._mlp_norm, self._eps)).chunk(2, -1)
        return x + self._down(F.silu(gate) * up)


class Stack:
    """All layers and the last norm, over flat rows: x [M, hidden] -> [M, hidden]."""

    def __init__(self, config: StackConfig, weights: dict[str, Tensor], prefix: str, dtype: torch.dtype) -> None:
        self._norm = take(weights, f"{prefix}.norm.weight").to(dtype)
        self._layers = build_layers(
            lambda index: Layer(config, weights, f"{prefix}.layers.{index}", dtype), config.layers, self._norm.device
        )
        self._eps = config.rms_norm_eps

    def __call__(self, x: Tensor, rope: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        for index, layer in enumerate(self._layers):
            x = layer(index, x, rope, attend)
        return F.rms_norm(x, self._norm.shape, self._norm, self._eps)


def turn(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate each head by its position's angles. x [M, heads, head_dim]"""
    cos, sin = rope
    first, second = x.chunk(2, -1)
    return torch.addcmul(x * cos, torch.cat((second, first), -1), sin)
