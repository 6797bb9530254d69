"""The talker: the utterance so far -> codebook 0 of the next frame."""

from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from speech_engines.qwen3_tts.model.config import StackConfig
from speech_engines.qwen3_tts.model.kv_cache import Attend, UtteranceCache
from speech_engines.qwen3_tts.model.transformer import Rope, Stack
from speech_engines.qwen3_tts.model.weights import Weights, take

EMBEDDING: Final = "talker.model.codec_embedding.weight"


class Talker:
    """`dtype` is that of activations and cache. Takes its tensors from `weights`, except the embedding."""

    cache: UtteranceCache

    def __init__(self, config: StackConfig, weights: Weights, dtype: torch.dtype) -> None:
        self._config = config
        self.embedding = weights[EMBEDDING]  # [vocab, H]
        self._dtype = dtype
        self._stack = Stack(config, weights, "talker.model", dtype)
        self._head = weights.linear(take(weights, "talker.codec_head.weight"))

    def allocate(self, cache_positions: int) -> None:
        """Allocate the cache, whose `cache_positions` limit all utterances together and each of them."""
        device = self.embedding.device
        self._rope = Rope(self._config, cache_positions + 1, device)  # inactive rows may be at their end
        self.cache = UtteranceCache(self._config, cache_positions, device, self._dtype)

    def embed(self, codes: Tensor) -> Tensor:
        """codes [B] of codebook 0 -> [B, H]"""
        return F.embedding(codes, self.embedding).to(self._dtype)

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden [B, H] -> [B, vocab] float32"""
        return self._head(hidden).float()

    def prefill(self, start: int, done: int, embeds: Tensor) -> Tensor:
        """Prefill the next embeds [T, H] of the prompt in the cache range from `start` on -> their last hidden state
        [1, H]"""
        count = len(embeds)
        rope = self._rope.at(slice(done, done + count))
        return self._stack(embeds.to(self._dtype, copy=True)[None], rope, self.cache.prompt(start, done, count))[0, -1:]

    def prefill_padded(self, start: Tensor, count: Tensor, embeds: Tensor) -> Tensor:
        """Prefill a whole prompt, the first `count` [1] of embeds [T, H], in the cache range from `start` [1] on -> as
        `prefill`"""
        rope = self._rope.at(slice(0, len(embeds)))
        attend = self.cache.padded_prompt(start, count, len(embeds))
        return self._stack(embeds.to(self._dtype, copy=True)[None], rope, attend)[0].index_select(0, count - 1)

    def step(self, x: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """One position in each row: x [B, H] at positions [B] -> hidden [B, H]"""
        return self._stack(x, self._rope.at(positions), attend)
