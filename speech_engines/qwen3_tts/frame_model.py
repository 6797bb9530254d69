"""Talker, code predictor and sampling as one: a prompt in a slot, then one frame of 16 codes a step for many slots."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from speech_engines.qwen3_tts.code_predictor import CodePredictor
from speech_engines.qwen3_tts.kv_cache import Attend
from speech_engines.qwen3_tts.model_config import ModelConfig
from speech_engines.qwen3_tts.sampling import FrameNoise, Sampling, SamplingTable, penalize
from speech_engines.qwen3_tts.talker import Talker
from speech_engines.qwen3_tts.weights import load_weights

__all__ = ["FrameModel", "Sampling"]

# On a GPU, attention reads this many positions or a multiple: few different shapes.
SPAN: Final = 256
_MINUS_INFINITY: Final = float("-inf")


class FrameModel:
    """All state is in buffers with a row for each slot; a step reads and writes them in place. One thread at a time.

    `weights` are the embedding tables and the text projection, by their names in the checkpoint.
    """

    def __init__(
        self, config: ModelConfig, weights: dict[str, Tensor], max_rows: int, max_positions: int, dtype: torch.dtype
    ) -> None:
        self.config, self.max_rows, self.max_positions = config, max_rows, max_positions
        self.talker = Talker(config.talker, weights, max_rows, max_positions, dtype)
        self.predictor = CodePredictor(config, weights, max_rows, dtype)
        self.weights = weights
        self.device, self.dtype = self.talker.embedding.device, dtype
        hidden, vocab = config.talker.hidden_size, config.talker.vocab_size
        self._sampling = SamplingTable(max_rows, self.device)
        self._tts_pad = _text_embedding(weights, config.tts_pad_id).to(dtype)  # [H]
        self._is_suppressed = torch.arange(vocab, device=self.device) >= config.first_prompt_id
        self._is_suppressed[config.codec_eos_id] = False
        self._logits = torch.zeros(max_rows, vocab, device=self.device)  # of the next codebook 0
        self._hidden = torch.zeros(max_rows, hidden, device=self.device, dtype=dtype)  # that they came from
        self._is_said = torch.zeros(max_rows, vocab, dtype=torch.bool, device=self.device)
        self._trailing = torch.zeros(max_rows, max_positions, hidden, device=self.device, dtype=dtype)
        self._trailing_frames = torch.zeros(max_rows, dtype=torch.int64, device=self.device)
        self._position = torch.zeros(max_rows, dtype=torch.int64, device=self.device)
        self._frame = torch.zeros(max_rows, dtype=torch.int64, device=self.device)
        self._lengths = [0] * max_rows  # `_position` as the host knows it

    @classmethod
    def load(
        cls, folder: Path, device: torch.device | str, dtype: torch.dtype, max_rows: int, max_positions: int
    ) -> "FrameModel":
        """From a checkpoint folder. `dtype` is that of the weights; a CPU computes in float32 whatever it is."""
        device = torch.device(device)
        config = ModelConfig.parse(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        weights = load_weights(folder, device, dtype)
        return cls(config, weights, max_rows, max_positions, torch.float32 if device.type == "cpu" else dtype)

    @torch.inference_mode()
    def prefill(self, slot: int, embeds: Tensor, trailing: Tensor, sampling: Sampling) -> None:
        """Make the slot ready for `step`, whatever it held before. embeds [T, H] is the prompt; trailing [N, H] is
        added to the inputs that frames 0 to N - 1 become; after that it is the embedding of `tts_pad`."""
        length, frames = embeds.shape[0], trailing.shape[0]
        if length + max(frames, 1) > self.max_positions:
            raise ValueError(f"{length} + {frames} positions do not fit into {self.max_positions}")
        hidden = self.talker.prefill(slot, embeds)
        self._hidden[slot], self._logits[slot] = hidden[0], self.talker.logits(hidden)[0]
        self._trailing[slot, :frames] = trailing.to(self.dtype)
        self._trailing[slot, frames] = self._tts_pad
        self._trailing_frames[slot] = frames
        self._is_said[slot] = False
        self._position[slot] = self._lengths[slot] = length
        self._frame[slot] = 0
        self._sampling.put(slot, sampling)

    @torch.inference_mode()
    def step(self, slots: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        """One frame for each of these different slots: codes [B, 16] int64, and ended [B] bool where codebook 0 was
        EOS: that row's codes are void. Never waits for the device. Slots as a tensor on it make the step one of fixed
        shapes that attends over all positions, as a CUDA graph wants it; the room in the cache is the caller's care."""
        if isinstance(slots, Tensor):
            attend = self.talker.attend(slots, self._position[slots], self.max_positions)
            return self._step(slots, attend, self._sampling.is_few())
        positions = [self._lengths[slot] for slot in slots]
        if max(positions) >= self.max_positions:
            raise ValueError(f"a slot has used up its {self.max_positions} positions")
        rows = torch.tensor(slots, device=self.device)
        out = self._step(rows, self._attend(rows, slots, positions), self._sampling.is_few(slots))
        for slot in slots:
            self._lengths[slot] += 1
        return out

    def release(self, slot: int) -> None:
        """Forget the slot's request. Its buffers are overwritten by the next `prefill`."""
        self._lengths[slot] = 0
        self._sampling.clear(slot)

    def _attend(self, rows: Tensor, slots: Sequence[int], positions: Sequence[int]) -> Attend:
        if self.device.type == "cpu":
            return self.talker.attend_by_row(slots, positions)
        span = min(-(-(max(positions) + 1) // SPAN) * SPAN, self.max_positions)
        return self.talker.attend(rows, self._position[rows], span)

    def _step(self, rows: Tensor, attend: Attend, few: bool) -> tuple[Tensor, Tensor]:
        """rows [B] are slots. `few`: see Warp."""
        frame, table, vocab = self._frame[rows], self._sampling, self.config.talker.vocab_size
        noise = FrameNoise(table.seed[rows], frame, self.config.codebooks, vocab, at_once=rows.is_cuda)
        first = table.talker.at(rows).choose(self._talker_logits(rows, frame), noise.of(0), few)  # [B]
        warp = table.predictor.at(rows)

        def choose(codebook: int, logits: Tensor) -> Tensor:
            return warp.choose(logits, noise.of(codebook), few)

        others = self.predictor(self._hidden[rows], self.talker.embed(first), choose)
        codes = torch.cat((first[:, None], others), 1)
        self._advance(rows, codes, attend)
        return codes, first == self.config.codec_eos_id

    def _talker_logits(self, rows: Tensor, frame: Tensor) -> Tensor:
        """The pending logits [B, vocab] after penalty and suppression."""
        logits = penalize(self._logits[rows], self._is_said[rows], self._sampling.penalty[rows])
        logits = logits.masked_fill(self._is_suppressed, _MINUS_INFINITY)
        eos = logits[:, self.config.codec_eos_id, None]
        eos.masked_fill_(frame[:, None] < self._sampling.min_frames[rows], _MINUS_INFINITY)
        return logits

    def _advance(self, rows: Tensor, codes: Tensor, attend: Attend) -> None:
        """Say this frame, codes [B, 16], and leave the logits of the next."""
        frame, position = self._frame[rows], self._position[rows]
        embeds = torch.cat((self.talker.embed(codes[:, 0])[:, None], self.predictor.embed(codes[:, 1:])), 1)
        x = embeds.sum(1) + self._trailing[rows, torch.minimum(frame, self._trailing_frames[rows])]
        hidden = self.talker.step(x, position, attend)
        self._is_said[rows, codes[:, 0]] = True
        self._hidden[rows], self._logits[rows] = hidden, self.talker.logits(hidden)
        self._frame[rows], self._position[rows] = frame + 1, position + 1


def _text_embedding(weights: dict[str, Tensor], text_id: int) -> Tensor:
    """What the talker adds to a code for this piece of text: [H]"""
    names = (f"talker.text_projection.linear_fc{layer}.{part}" for layer in (1, 2) for part in ("weight", "bias"))
    first, first_bias, second, second_bias = (weights[name] for name in names)
    x = F.embedding(torch.tensor([text_id], device=first.device), weights["talker.model.text_embedding.weight"])
    return F.linear(F.silu(F.linear(x, first, first_bias)), second, second_bias)[0]
