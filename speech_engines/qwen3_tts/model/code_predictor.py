"""The code predictor: the talker's hidden state and codebook 0 -> codebooks 1 to 15 of the frame."""

from collections.abc import Callable
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from speech_engines.qwen3_tts.model.config import ModelConfig
from speech_engines.qwen3_tts.model.kv_cache import FrameCache
from speech_engines.qwen3_tts.model.transformer import Rope, Stack
from speech_engines.qwen3_tts.model.weights import Linear, Weights, take

PREFIX: Final = "talker.code_predictor"
_PROJECTION: Final = f"{PREFIX}.small_to_mtp_projection"

# choose(codebook, logits [B, vocab] float32) -> codes [B]
Choose = Callable[[int, Tensor], Tensor]


class CodePredictor:
    """One position for the hidden state and one for each code but the last, from an empty cache for every frame."""

    def __init__(self, config: ModelConfig, weights: Weights, dtype: torch.dtype) -> None:
        self._config = config.predictor
        self._codebooks, self._vocab, self._dtype = config.codebooks, config.predictor.vocab_size, dtype
        self._stack = Stack(config.predictor, weights, f"{PREFIX}.model", dtype)
        books = range(config.codebooks - 1)
        self._heads = [weights.linear(take(weights, f"{PREFIX}.lm_head.{book}.weight")) for book in books]
        self._project = _take_projection(weights)
        self.embedding = _stack_embeddings(weights, config.codebooks - 1)
        # The layers' inputs for every possible code: no projection of codes remains to be computed in a frame.
        inputs = self.embedding
        if self._project is not None:
            inputs = self._project(self.embedding.to(dtype)).to(self.embedding.dtype)
        self._inputs = inputs.chunk(config.codebooks - 1)  # by codebook

    def allocate(self, rows: int) -> None:
        """Allocate the cache of a frame, for at most `rows` rows."""
        device = self.embedding.device
        rope = Rope(self._config, self._codebooks, device)
        self._rope_of_two = rope.at(slice(0, 2), rows)  # of every row's first two positions
        self._ropes = [rope.at(slice(position, position + 1)) for position in range(self._codebooks)]
        self._cache = FrameCache(self._config, rows, self._codebooks, device, self._dtype)

    def embed(self, codes: Tensor) -> Tensor:
        """codes [B, 15] of codebooks 1 to 15 -> [B, 15, H] as inputs of the talker"""
        offsets = torch.arange(codes.shape[1], device=codes.device) * self._vocab
        return F.embedding(codes + offsets, self.embedding).to(self._dtype)

    def __call__(self, hidden: Tensor, first: Tensor, choose: Choose) -> Tensor:
        """The talker's hidden [B, H] and the embedding of codebook 0, first [B, H] -> codes [B, 15]"""
        rows = hidden.shape[0]
        x = torch.stack((hidden, first), 1).flatten(0, 1)  # [B * 2, H]
        x = x if self._project is None else self._project(x)
        out = self._stack(x, self._rope_of_two[: len(x)], self._cache.next(rows, 0, 2))[1::2]
        codes = [choose(1, self._heads[0](out).float())]
        for book in range(1, self._codebooks - 1):
            x = F.embedding(codes[-1], self._inputs[book - 1]).to(self._dtype)
            out = self._stack(x, self._ropes[book + 1], self._cache.next(rows, book + 1, 1))
            codes.append(choose(book + 1, self._heads[book](out).float()))
        return torch.stack(codes, 1)


def _take_projection(weights: Weights) -> Linear | None:
    """From the talker's width to the predictor's, where they differ."""
    if f"{_PROJECTION}.weight" not in weights:
        return None
    return weights.linear(take(weights, f"{_PROJECTION}.weight"), take(weights, f"{_PROJECTION}.bias"))


def _stack_embeddings(weights: Weights, count: int) -> Tensor:
    """All tables below each other [15 * vocab, H], so that one look-up serves a frame; `weights` keeps views of it."""
    names = [f"{PREFIX}.model.codec_embedding.{book}.weight" for book in range(count)]
    stacked = take(weights, *names)
    weights.update(zip(names, stacked.chunk(count), strict=True))
    return stacked
