"""Talker, code predictor and sampling as one: a prompt in a slot, then one frame of 16 codes a step for many slots."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from speech_engines.qwen3_tts.model.cache_ranges import CacheRange
from speech_engines.qwen3_tts.model.code_predictor import CodePredictor
from speech_engines.qwen3_tts.model.config import ModelConfig
from speech_engines.qwen3_tts.model.kv_cache import Attend, untouched
from speech_engines.qwen3_tts.model.patterns import pattern
from speech_engines.qwen3_tts.model.sampling import MIN_FRAMES, FrameNoise, Sampling, SamplingTable, penalize
from speech_engines.qwen3_tts.model.talker import Talker
from speech_engines.qwen3_tts.model.weights import TEXT_EMBEDDING, Weights, load_weights

__all__ = ["FrameModel", "Sampling"]

# A slot's latest frames are kept for the codec; no chunk may be longer.
KEPT_FRAMES: Final = 16
_MINUS_INFINITY: Final = float("-inf")
Rows = Tensor | slice  # slots, one row of the batch each


@dataclass(frozen=True, slots=True)
class _Paused:
    """The cache content of a paused utterance, in host memory."""

    kv: Tensor  # [layers, positions, 2 * kv_heads, head_dim]
    trailing: Tensor  # [N, H]


class FrameModel:
    """All state is in buffers with a row for each slot, or a place for each position of an utterance; a step reads and
    writes them in place. One thread at a time.

    `weights` are the embedding tables and the text projection, by their names in the checkpoint.
    """

    slots: int
    cache_positions: int

    def __init__(self, config: ModelConfig, weights: Weights, dtype: torch.dtype) -> None:
        self.config = config
        self.talker = Talker(config.talker, weights, dtype)
        self.predictor = CodePredictor(config, weights, dtype)
        self.weights = weights
        self.device, self.dtype = self.talker.embedding.device, dtype
        vocab = config.talker.vocab_size
        self._tts_pad = _text_embedding(weights, config.tts_pad_id).to(dtype)  # [H]
        self._is_suppressed = torch.arange(vocab, device=self.device) >= config.first_prompt_id
        self._is_suppressed[config.codec_eos_id] = False

    @torch.inference_mode()
    def allocate(self, slots: int, cache_positions: int) -> None:
        """Allocate the buffers for `slots` slots, and `cache_positions` positions of all utterances together."""
        self.slots, self.cache_positions = slots, cache_positions
        self.talker.allocate(cache_positions)
        self.predictor.allocate(slots)
        self.sampling = SamplingTable(slots, self.device)
        hidden, vocab, dtype = self.config.talker.hidden_size, self.config.talker.vocab_size, self.dtype
        self._logits = torch.zeros(slots, vocab, device=self.device)  # of the next codebook 0
        self._hidden = torch.zeros(slots, hidden, device=self.device, dtype=dtype)  # that they came from
        self._is_said = torch.zeros(slots, vocab, dtype=torch.bool, device=self.device)
        self._trailing = untouched((cache_positions, hidden), self.device, dtype)
        self._codes = self._counters(KEPT_FRAMES, self.config.codebooks)
        self.start, self.position = self._counters(), self._counters()
        self._frame, self._trailing_frames = self._counters(), self._counters()
        self._cache_ranges = [CacheRange(0, 0)] * slots
        self.lengths = [0] * slots  # `position` on the host
        self._trailing_counts = [0] * slots
        self._paused: dict[int, _Paused] = {}

    @classmethod
    def load(
        cls, folder: Path, device: torch.device | str, dtype: torch.dtype, slots: int, cache_positions: int
    ) -> "FrameModel":
        """Load from a checkpoint folder: see `read` and `allocate`."""
        model = cls.read(folder, device, dtype)
        model.allocate(slots, cache_positions)
        return model

    @classmethod
    def read(cls, folder: Path, device: torch.device | str, dtype: torch.dtype, *, int8: bool = False) -> "FrameModel":
        """Without its buffers. `dtype` is that of the weights, but for large ones where `int8` is set; on a CPU,
        activations are float32 whatever it is."""
        device = torch.device(device)
        config = ModelConfig.parse(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        with torch.inference_mode():
            weights = load_weights(folder, device, dtype, int8=int8)
            return cls(config, weights, torch.float32 if device.type == "cpu" else dtype)

    @torch.inference_mode()
    def begin(self, slot: int, cache_range: CacheRange, trailing: Tensor, sampling: Sampling) -> None:
        """Start an utterance in the slot, whatever its state. The cache range has positions for the prompt and one for
        each frame; trailing [N, H] is added to the inputs of frames 0 to N - 1; later frames get the embedding of
        `tts_pad`."""
        self._cache_ranges[slot], self.lengths[slot] = cache_range, 0
        self.start[slot] = cache_range.start
        trailing = torch.cat((trailing.to(self.dtype), self._tts_pad[None]))[: cache_range.count]
        self._trailing[cache_range.start : cache_range.start + len(trailing)] = trailing
        self._trailing_frames[slot] = len(trailing) - 1
        self._trailing_counts[slot] = len(trailing)
        self._is_said[slot] = False
        self._frame[slot] = self.position[slot] = 0
        self.sampling.put(slot, sampling)

    @torch.inference_mode()
    def append(self, slot: int, trailing: Tensor, *, final: bool) -> None:
        """More of the slot's trailing, [n, H], for which its cache range must have positions. No EOS before the
        `final` one was added."""
        count = self._trailing_counts[slot] - 1  # the last one is `tts_pad`
        begin, end = self._cache_ranges[slot].start + count, self._cache_ranges[slot].stop
        added = torch.cat((trailing.to(self.dtype), self._tts_pad[None]))
        if begin + len(added) > end:
            raise ValueError(f"slot {slot} has no positions for {len(trailing)} more")
        self._trailing[begin : begin + len(added)] = added
        self._trailing_frames[slot] = count + len(trailing)
        self._trailing_counts[slot] = count + len(added)
        if final:
            self.sampling.min_frames[slot] = max(MIN_FRAMES, count + len(trailing))

    @torch.inference_mode()
    def extend(self, slot: int, embeds: Tensor) -> None:
        """The next part of the prompt, [T, H]; after the last one, `step` may follow."""
        self.check_room(slot, len(embeds))
        cache_range, done = self._cache_ranges[slot], self.lengths[slot]
        hidden = self.talker.prefill(cache_range.start, done, embeds)
        self.finish_prefill(slot, hidden, self.talker.logits(hidden), done + len(embeds))

    def check_room(self, slot: int, positions: int) -> None:
        """Raise ValueError if `positions` more, and a frame, do not fit into the slot's cache range."""
        count = self.lengths[slot] + positions
        if count >= self._cache_ranges[slot].count:
            raise ValueError(f"{count} positions and a frame do not fit into {self._cache_ranges[slot].count}")

    def finish_prefill(self, slot: int, hidden: Tensor, logits: Tensor, positions: int) -> None:
        """`positions` positions of the slot's prompt are in the cache; the last one gave hidden [1, H] and logits [1,
        vocab]."""
        self._hidden[slot], self._logits[slot] = hidden[0], logits[0]
        self.position[slot] = self.lengths[slot] = positions

    @torch.inference_mode()
    def move(self, slot: int, cache_range: CacheRange) -> None:
        """Move the slot's utterance to that cache range, which may overlap its own."""
        old = self._cache_ranges[slot]
        if cache_range.start != old.start:
            count = self._trailing_counts[slot]
            self.talker.cache.move(old.start, cache_range.start, self.lengths[slot])
            kept = self._trailing[old.start : old.start + count].clone()
            self._trailing[cache_range.start : cache_range.start + count] = kept
            self.start[slot] = cache_range.start
        self._cache_ranges[slot] = cache_range

    @torch.inference_mode()
    def pause(self, slot: int) -> None:
        """Copy the slot's cache content to host memory; the cache range is free then."""
        start, count = self._cache_ranges[slot].start, self._trailing_counts[slot]
        kv = self.talker.cache.save(start, self.lengths[slot])
        self._paused[slot] = _Paused(kv, self._trailing[start : start + count].to("cpu", copy=True))

    @torch.inference_mode()
    def resume(self, slot: int, cache_range: CacheRange) -> None:
        """Restore it into that cache range."""
        paused = self._paused[slot]
        self.talker.cache.restore(cache_range.start, paused.kv)
        self._trailing[cache_range.start : cache_range.start + len(paused.trailing)] = paused.trailing.to(self.device)
        self.start[slot] = cache_range.start
        self._cache_ranges[slot] = cache_range
        del self._paused[slot]

    def step(self, slots: Sequence[int]) -> tuple[Tensor, Tensor]:
        """One frame for each of these different slots: codes [B, 16] int64, and ended [B] bool, true if codebook 0 was
        EOS: that row's codes are void. Never waits for the device."""
        positions = self.advance(slots)
        try:
            attend = self.talker.cache.rows([self._cache_ranges[slot].start for slot in slots], positions)
            rows = torch.tensor(slots, device=self.device)
            return self.frame(rows, None, attend, self.sampling.is_top_k_only(slots))
        except RuntimeError:
            self.rewind(slots)
            raise

    @torch.inference_mode()
    def force(self, slot: int, codes: Tensor) -> tuple[Tensor, Tensor]:
        """One frame of the given codes [16] -> the logits that they could have been chosen from: [vocab] of codebook 0,
        [15, vocab] of the others."""
        attend = self.talker.cache.rows([self._cache_ranges[slot].start], self.advance([slot]))
        row, others = torch.tensor([slot], device=self.device), []

        def choose(codebook: int, logits: Tensor) -> Tensor:
            others.append(logits)
            return codes[codebook, None]

        first = self._logits[slot].clone()
        self.predictor(self._hidden[row], self.talker.embed(codes[:1]), choose)
        self._record(row, None, codes[None], attend)
        return first, torch.cat(others)

    def advance(self, slots: Sequence[int]) -> list[int]:
        """Reserve the positions of a step of these slots. Raises ValueError."""
        positions = [self.lengths[slot] for slot in slots]
        for slot, position in zip(slots, positions, strict=True):
            if position >= self._cache_ranges[slot].count:
                raise ValueError(f"slot {slot} has used up its {position} positions")
            self.lengths[slot] = position + 1
        return positions

    def rewind(self, slots: Sequence[int]) -> None:
        """Undo `advance`, if the step failed."""
        for slot in slots:
            self.lengths[slot] -= 1

    @property
    def pending(self) -> tuple[Tensor, Tensor]:
        """The inputs of the next frame of every slot: hidden states [slots, H] and logits [slots, vocab]."""
        return self._hidden, self._logits

    @torch.inference_mode()
    def fill_for_warm_up(self, position: int, sampling: Sampling) -> None:
        """Put each slot into the middle of a deterministic utterance, before there are requests. Slot n is at
        `position` + n of a cache range that begins at 0."""
        self.sampling.put_all(sampling)
        for tensor in self.pending:
            tensor.copy_(pattern(tensor))
        for counter in (self.start, self._trailing_frames, self._is_said):
            counter.zero_()
        self._frame.fill_(sampling.min_frames)
        self.position.copy_(torch.arange(self.slots, device=self.device) + position)
        self.talker.cache.fill_for_warm_up(position)

    def recent_codes(self, slots: Sequence[int], first: Sequence[int], frames: int) -> Tensor:
        """The codes [B, frames, 16] of each slot from frame `first` on, which must be among its latest."""
        rows = torch.tensor([slots, first], device=self.device)
        cache_positions = (rows[1, :, None] + torch.arange(frames, device=self.device)) % KEPT_FRAMES
        return self._codes[rows[0, :, None], cache_positions]

    def release(self, slot: int) -> None:
        """Drop the slot's request. Its buffers are overwritten by the next one."""
        self.sampling.clear(slot)
        self._paused.pop(slot, None)

    @torch.inference_mode()
    def frame(self, rows: Rows, active: Tensor | None, attend: Attend, top_k_only: bool) -> tuple[Tensor, Tensor]:
        """See `step`. Rows that are not `active` [B] keep their state, and their codes are void. `top_k_only`: see
        LogitsWarper."""
        frame, table, vocab = self._frame[rows], self.sampling, self.config.talker.vocab_size
        noise = FrameNoise(table.seed[rows], frame, self.config.codebooks, vocab, at_once=frame.is_cuda)
        first = table.talker.at(rows).choose(self._talker_logits(rows, frame), noise.of(0), top_k_only)  # [B]
        warper = table.predictor.at(rows)

        def choose(codebook: int, logits: Tensor) -> Tensor:
            return warper.choose(logits, noise.of(codebook), top_k_only)

        others = self.predictor(self._hidden[rows], self.talker.embed(first), choose)
        codes = torch.cat((first[:, None], others), 1)
        self._record(rows, active, codes, attend)
        return codes, first == self.config.codec_eos_id

    def _talker_logits(self, rows: Rows, frame: Tensor) -> Tensor:
        """The pending logits [B, vocab] after penalty and suppression."""
        logits = penalize(self._logits[rows], self._is_said[rows], self.sampling.penalty[rows])
        logits = logits.masked_fill(self._is_suppressed, _MINUS_INFINITY)
        eos = logits[:, self.config.codec_eos_id, None]
        eos.masked_fill_(frame[:, None] < self.sampling.min_frames[rows], _MINUS_INFINITY)
        return logits

    def _record(self, rows: Rows, active: Tensor | None, codes: Tensor, attend: Attend) -> None:
        """Record this frame, codes [B, 16], and store the logits of the next."""
        frame, position = self._frame[rows], self.position[rows]
        embeds = torch.cat((self.talker.embed(codes[:, 0])[:, None], self.predictor.embed(codes[:, 1:])), 1)
        trailing = self.start[rows] + torch.minimum(frame, self._trailing_frames[rows])
        hidden = self.talker.step(embeds.sum(1) + self._trailing[trailing], position, attend)
        is_said = self._is_said[rows].scatter(1, codes[:, :1], True)
        place = (frame % KEPT_FRAMES)[:, None, None].expand(-1, 1, codes.shape[1])
        kept = self._codes[rows].scatter(1, place, codes[:, None])
        new: tuple[Tensor, ...] = (hidden, self.talker.logits(hidden), is_said, kept, frame + 1, position + 1)
        old = (self._hidden, self._logits, self._is_said, self._codes, self._frame, self.position)
        if active is not None:
            new = tuple(_choose(active, value, buffer[rows]) for value, buffer in zip(new, old, strict=True))
        for buffer, value in zip(old, new, strict=True):  # last, so that a step without memory has changed nothing
            buffer[rows] = value

    def _counters(self, *shape: int) -> Tensor:
        return torch.zeros(self.slots, *shape, dtype=torch.int64, device=self.device)


def _choose(condition: Tensor, true: Tensor, false: Tensor) -> Tensor:
    """Select by row: condition [B], the others [B, ...]"""
    return torch.where(condition.view(-1, *[1] * (true.dim() - 1)), true, false)


def _text_embedding(weights: dict[str, Tensor], text_id: int) -> Tensor:
    """The talker's input for this text, added to that of a code: [H]"""
    names = (f"talker.text_projection.linear_fc{layer}.{part}" for layer in (1, 2) for part in ("weight", "bias"))
    first, first_bias, second, second_bias = (weights[name] for name in names)
    x = F.embedding(torch.tensor([text_id], device=first.device), weights[TEXT_EMBEDDING]).to(first.dtype)
    return F.linear(F.silu(F.linear(x, first, first_bias)), second, second_bias)[0]
