"""Keys and values of what was said so far, in buffers that never move, and attention over them."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from speech_engines.qwen3_tts.model_config import StackConfig

# attend(layer, q [M, heads, head_dim], k [M, kv_heads, head_dim], v) -> [M, heads * head_dim]; stores k and v first
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class KVCache:
    """One slot for each row that can be in flight. Each method gives the attention of one forward pass."""

    def __init__(
        self, config: StackConfig, slots: int, positions: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        shape = (config.layers, slots, config.kv_heads, positions, config.head_dim)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.positions = positions

    def aligned(self, slots: slice, start: int, count: int) -> Attend:
        """`count` new positions from `start` on, the same in all slots of the range; M is slots x count."""
        new = slice(start, start + count)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values = self.keys[layer, slots], self.values[layer, slots]  # [B, kv_heads, positions, head_dim]
            keys[:, :, new] = k.view(-1, count, *k.shape[1:]).transpose(1, 2)
            values[:, :, new] = v.view(-1, count, *v.shape[1:]).transpose(1, 2)
            keys, values = keys[:, :, : new.stop], values[:, :, : new.stop]
            if count == 1:
                return _attend_one(q, keys, values)
            return _attend_causal(q.view(-1, count, *q.shape[1:]), keys, values)

        return attend

    def ragged(self, slots: Tensor, positions: Tensor, span: int) -> Attend:
        """One new position in each slot, at its own place, all below `span`. Fixed shapes and no look at a tensor's
        values, so a CUDA graph can hold it; what lies beyond a row's position is masked."""
        seen = torch.arange(span, device=slots.device) <= positions[:, None]
        mask = seen[:, None, None]  # [B, 1, 1, span]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values = self.keys[layer], self.values[layer]  # [slots, kv_heads, positions, head_dim]
            keys[slots, :, positions] = k
            values[slots, :, positions] = v
            return _attend_one(q, keys[:, :, :span][slots], values[:, :, :span][slots], mask)

        return attend

    def ragged_by_row(self, slots: Sequence[int], positions: Sequence[int]) -> Attend:
        """The same for a CPU: a call costs little there, and copying each slot's keys and values much."""

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            out = torch.empty_like(q).flatten(1)
            for row, (slot, position) in enumerate(zip(slots, positions, strict=True)):
                keys, values = self.keys[layer, slot], self.values[layer, slot]  # [kv_heads, positions, head_dim]
                keys[:, position], values[:, position] = k[row], v[row]
                said = slice(0, position + 1)
                out[row] = _attend_one(q[row : row + 1], keys[None, :, said], values[None, :, said])[0]
            return out

        return attend


def _attend_one(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """One query position for each row. The query heads that share a key head stand where query positions would: no
    key is repeated for them. q [B, heads, head_dim]; keys, values [B, kv_heads, positions, head_dim]"""
    grouped = q.view(len(q), keys.shape[1], -1, q.shape[2])  # [B, kv_heads, heads / kv_heads, head_dim]
    return F.scaled_dot_product_attention(grouped, keys, values, attn_mask=mask).flatten(1)


def _attend_causal(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """All positions at once. q [B, T, heads, head_dim]; keys, values [B, kv_heads, T, head_dim]"""
    out = F.scaled_dot_product_attention(q.transpose(1, 2), keys, values, is_causal=True, enable_gqa=True)
    return out.transpose(1, 2).flatten(2).flatten(0, 1)  # [B * T, heads * head_dim]
