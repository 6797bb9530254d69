"""The KV cache, in buffers at fixed addresses, and attention over it."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from speech_engines.qwen3_tts.model.config import StackConfig
from speech_engines.qwen3_tts.model.patterns import pattern

# attend(layer, q [M, heads, head_dim], kv [M, 2 * kv_heads, head_dim], the keys first) -> [M, heads * head_dim]; stores
# kv first
Attend = Callable[[int, Tensor, Tensor], Tensor]
_MINUS_INFINITY = float("-inf")
# Keys and values that are gathered at once: larger batches are processed in groups of rows.
GATHERED_BYTES: Final = 128 * 2**20


class UtteranceCache:
    """Indexed by position: an utterance has a contiguous cache range."""

    def __init__(self, config: StackConfig, cache_positions: int, device: torch.device, dtype: torch.dtype) -> None:
        # One position more than utterances use: the scratch position of inactive rows. Keys and values are adjacent, so
        # that one operation writes or gathers both.
        self._kv = untouched((config.layers, cache_positions + 1, 2 * config.kv_heads, config.head_dim), device, dtype)
        self.scratch_position = cache_positions

    def fill_for_warm_up(self, count: int) -> None:
        """Fill the first positions with deterministic values."""
        for layer in self._kv:
            layer[:count] = pattern(layer[:count])

    def move(self, old: int, new: int, count: int) -> None:
        """Move `count` positions of the cache from `old` on to `new` on; the ranges may overlap."""
        for layer in self._kv:
            layer[new : new + count] = layer[old : old + count].clone()

    def save(self, start: int, count: int) -> Tensor:
        """A copy in host memory of a cache range's first positions, [layers, count, 2 * kv_heads, head_dim]."""
        saved = torch.empty((len(self._kv), count, *self._kv.shape[2:]), dtype=self._kv.dtype)
        for layer, copy in zip(self._kv, saved, strict=True):
            copy.copy_(layer[start : start + count])
        return saved

    def restore(self, start: int, saved: Tensor) -> None:
        """Write a saved copy to the positions from `start` on."""
        for layer, copy in zip(self._kv, saved, strict=True):
            layer[start : start + saved.shape[1]].copy_(copy)

    def padded_prompt(self, start: Tensor, count: Tensor, length: int) -> Attend:
        """The first `count` of `length` positions of the cache range that begins at `start`, both [1]; the others are
        padding. Fixed shapes, as in `batch`: the prompt's last position attends to no padding, which comes later."""
        offsets = torch.arange(length, device=start.device)
        cache_positions = torch.where(offsets < count, start + offsets, self.scratch_position)

        def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
            self._kv[layer].index_copy_(0, cache_positions, kv)
            return _attend_all(q[None], kv[None])

        return attend

    def prompt(self, start: int, done: int, count: int) -> Attend:
        """`count` new positions after the first `done` of the cache range that begins at `start`."""
        new, seen = slice(start + done, start + done + count), slice(start, start + done + count)
        mask = None
        if done:  # each new position attends to itself and those before it
            ones = torch.ones(count, done + count, dtype=torch.bool, device=self._kv.device)
            mask = ones.tril(done)

        def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
            cached = self._kv[layer]  # [cache positions, 2 * kv_heads, head_dim]
            cached[new] = kv
            return _attend_all(q[None], cached[None, seen], mask)

        return attend

    def batch(self, starts: Tensor, positions: Tensor, cache_positions: Tensor, span: int) -> Attend:
        """One new position for each row, whose key is written to `cache_positions`; all positions are below `span`. All
        are [B]. Fixed shapes and no access to tensor values on the host, so a CUDA graph can capture it; positions
        beyond a row's own are masked."""
        offsets = torch.arange(span, device=starts.device)
        seen = (starts[:, None] + offsets).clamp(max=self.scratch_position)  # [B, span] cache positions
        mask = torch.zeros(seen.shape, device=starts.device, dtype=self._kv.dtype)
        mask = mask.masked_fill(offsets > positions[:, None], _MINUS_INFINITY)[:, None, None]  # [B, 1, 1, span]
        rows = max(1, GATHERED_BYTES // (span * self._kv[0, 0].nbytes))
        groups = list(zip(seen.split(rows), mask.split(rows), strict=True))

        def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
            cached = self._kv[layer]
            cached.index_copy_(0, cache_positions, kv)
            attended = [
                _attend_one(part, cached[seen], mask) for part, (seen, mask) in zip(q.split(rows), groups, strict=True)
            ]
            return attended[0] if len(attended) == 1 else torch.cat(attended)

        return attend

    def rows(self, starts: Sequence[int], positions: Sequence[int]) -> Attend:
        """The same for a CPU: a call costs little there, but copying each row's keys and values costs much."""
        cache_positions = torch.tensor([start + position for start, position in zip(starts, positions, strict=True)])
        cache_ranges = [slice(start, start + position + 1) for start, position in zip(starts, positions, strict=True)]

        def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
            cached = self._kv[layer].index_copy_(0, cache_positions, kv)
            rows = zip(q.split(1), cache_ranges, strict=True)
            return torch.cat([_attend_one(row, cached[None, cache_range]) for row, cache_range in rows])

        return attend


class FrameCache:
    """Indexed by position and row, for a cache that is restarted for each frame."""

    def __init__(
        self, config: StackConfig, rows: int, positions: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        shape = (config.layers, positions, rows, 2 * config.kv_heads, config.head_dim)
        self._kv = torch.zeros(shape, device=device, dtype=dtype).unbind()

    def next(self, rows: int, start: int, count: int) -> Attend:
        """`count` new positions from `start` on in each of the first `rows` rows; M is rows x count."""
        end = start + count
        new = start if count == 1 else slice(start, end)

        def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
            cached = self._kv[layer][:end, :rows]
            if count > 1:  # [M, ...] -> [count, B, ...]
                kv = kv.unflatten(0, (rows, count)).transpose(0, 1)
            cached[new] = kv
            cached = cached.transpose(0, 1)
            return _attend_one(q, cached) if count == 1 else _attend_all(q.unflatten(0, (rows, count)), cached)

        return attend


def untouched(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Zeros; on a CPU, untouched pages cost no memory."""
    if device.type == "cpu" and dtype is torch.float32:
        return torch.from_numpy(np.zeros(shape, np.float32))
    return torch.zeros(shape, device=device, dtype=dtype)


def _attend_one(q: Tensor, kv: Tensor, mask: Tensor | None = None) -> Tensor:
    """One query position for each row. The query heads that share a key head take the place of query positions, so keys
    are not repeated. q [B, heads, head_dim]; kv [B, positions, 2 * kv_heads, head_dim]"""
    keys, values = kv.transpose(1, 2).chunk(2, 1)  # [B, kv_heads, positions, head_dim]
    grouped = q.view(q.shape[0], keys.shape[1], -1, q.shape[2])  # [B, kv_heads, heads / kv_heads, head_dim]
    return F.scaled_dot_product_attention(grouped, keys, values, attn_mask=mask).flatten(1)


def _attend_all(q: Tensor, kv: Tensor, mask: Tensor | None = None) -> Tensor:
    """Many query positions, each attending to itself and those before it, or according to the mask. q [B, T, heads,
    head_dim]; kv [B, positions, 2 * kv_heads, head_dim]"""
    keys, values = kv.transpose(1, 2).chunk(2, 1)
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2), keys, values, attn_mask=mask, is_causal=mask is None, enable_gqa=True
    )
    return out.transpose(1, 2).flatten(2).flatten(0, 1)  # [B * T, heads * head_dim]
