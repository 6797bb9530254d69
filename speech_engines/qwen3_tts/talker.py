"""The talker: what was said so far -> codebook 0 of the next frame."""

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from speech_engines.qwen3_tts.kv_cache import Attend, KVCache
from speech_engines.qwen3_tts.model_config import StackConfig
from speech_engines.qwen3_tts.transformer import Rope, Stack
from speech_engines.qwen3_tts.weights import make_linear, take

EMBEDDING: Final = "talker.model.codec_embedding.weight"


class Talker:
    """`dtype` is that of activations and cache. Takes its tensors out of `weights`, but for the embedding."""

    def __init__(
        self, config: StackConfig, weights: dict[str, Tensor], slots: int, positions: int, dtype: torch.dtype
    ) -> None:
        self.embedding = weights[EMBEDDING]  # [vocab, H]
        device = self.embedding.device
        self._dtype = dtype
        self._stack = Stack(config, weights, "talker.model", dtype)
        self._head = make_linear(take(weights, "talker.codec_head.weight"))
        self._rope = Rope(config, positions, device, dtype)
        self._cache = KVCache(config, slots, positions, device, dtype)

    def embed(self, codes: Tensor) -> Tensor:
        """codes [B] of codebook 0 -> [B, H]"""
        return F.embedding(codes, self.embedding).to(self._dtype)

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden [B, H] -> [B, vocab] float32"""
        return self._head(hidden).float()

    def prefill(self, slot: int, embeds: Tensor) -> Tensor:
        """The prompt's embeds [T, H] into an empty slot -> its last hidden state [1, H]"""
        length = embeds.shape[0]
        attend = self._cache.aligned(slice(slot, slot + 1), 0, length)
        return self._stack(embeds.to(self._dtype), self._rope.at(slice(0, length)), attend)[-1:]

    def step(self, x: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """One position in each row: x [B, H] at positions [B] -> hidden [B, H]"""
        return self._stack(x, self._rope.at(positions), attend)

    def attend(self, slots: Tensor, positions: Tensor, span: int) -> Attend:
        """For `step`: positions [B] are all below `span`."""
        return self._cache.ragged(slots, positions, span)

    def attend_by_row(self, slots: Sequence[int], positions: Sequence[int]) -> Attend:
        """For `step` on a CPU."""
        return self._cache.ragged_by_row(slots, positions)
