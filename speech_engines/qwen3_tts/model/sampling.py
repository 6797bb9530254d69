"""Logits to codes: each row with its own settings, and with noise that depends on its request alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor

# With top_k up to this and no top_p, only the largest logits are needed, and no sort of all of them.
MIN_FRAMES: Final = 2  # of an utterance
TOP_K_ONLY_MAX: Final = 64
CANDIDATES: Final = 96  # more than TOP_K_ONLY_MAX: codes that tie with the last one are kept, too
_ALL: Final = 1 << 30  # a top_k beyond any vocabulary
_MINUS_INFINITY: Final = float("-inf")

# noise(codes [vocab] or [B, K]) -> the Gumbel noise [B, vocab] or [B, K] of these codes
Noise = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one request's codes are sampled. `predictor_*` applies to codebooks 1 to 15. A top_k of 0 and a top_p of 1
    keep every code; greedy selects the most probable one, whatever the other fields are (the repetition penalty
    applies)."""

    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    greedy: bool
    predictor_temperature: float
    predictor_top_k: int
    predictor_top_p: float
    predictor_greedy: bool
    seed: int
    min_frames: int = MIN_FRAMES  # EOS is suppressed before


class LogitsWarper:
    """Temperature, top-k, top-p and greediness, [B, 1] each: one row for each slot or each row of a batch."""

    def __init__(self, temperature: Tensor, top_k: Tensor, last: Tensor, tail: Tensor, greedy: Tensor) -> None:
        self.temperature, self.top_k = temperature, top_k
        self.last = last  # top_k - 1 where top_k is small
        self.tail = tail  # the probability that top_p excludes; below 0: none
        self.greedy = greedy

    @classmethod
    def for_slots(cls, slots: int, device: torch.device) -> "LogitsWarper":
        """A warper with neutral settings for that number of slots."""
        ones = torch.ones(slots, 1, device=device)
        return cls(ones.clone(), ones.long(), torch.zeros_like(ones).long(), -ones, ones.bool())

    def put(self, slot: int | slice, temperature: float, top_k: int, top_p: float, greedy: bool) -> None:
        """Set the settings of a slot."""
        self.temperature[slot] = 1.0 if greedy else temperature
        top_k = 1 if greedy else top_k or _ALL
        self.top_k[slot], self.last[slot] = top_k, min(top_k, TOP_K_ONLY_MAX) - 1
        self.tail[slot] = 1 - top_p if top_p < 1 and not greedy else -1.0
        self.greedy[slot] = greedy

    def at(self, slots: Tensor | slice) -> "LogitsWarper":
        """The settings of these slots, as rows of a batch."""
        return LogitsWarper(
            *(table[slots] for table in (self.temperature, self.top_k, self.last, self.tail, self.greedy))
        )

    def __call__(self, logits: Tensor) -> Tensor:
        """[B, vocab] -> the same over temperature, and -inf for codes that top-k or top-p exclude."""
        scores = logits / self.temperature
        ordered, order = scores.sort(dim=-1, stable=True)
        floor = ordered.gather(1, (scores.shape[-1] - self.top_k).clamp(min=0))  # ties with the last one are kept
        mass = ordered.masked_fill(ordered < floor, _MINUS_INFINITY).softmax(-1).cumsum(-1)
        is_tail = mass <= self.tail
        is_tail[:, -1] = False
        is_tail = torch.empty_like(is_tail).scatter_(1, order, is_tail)
        return scores.masked_fill((scores < floor) | is_tail, _MINUS_INFINITY)

    def best(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The result of a call if no row has a top_k above TOP_K_ONLY_MAX or a top_p: scores and codes [B,
        CANDIDATES]."""
        scores, codes = (logits / self.temperature).topk(min(CANDIDATES, logits.shape[-1]))
        return scores.masked_fill_(scores < scores.gather(1, self.last), _MINUS_INFINITY), codes

    def choose(self, logits: Tensor, noise: Noise, top_k_only: bool) -> Tensor:
        """logits [B, vocab] -> codes [B]: the code with the largest sum of score and Gumbel noise is a sample from the
        softmax. `top_k_only`: `best` suffices, which reduces the cost and gives the same result."""
        scores, codes = self.best(logits) if top_k_only else (self(logits), _all_codes(logits))
        place = (scores + noise(codes)).argmax(-1, keepdim=True)
        drawn = codes.expand_as(scores).gather(1, place)
        return torch.where(self.greedy, logits.argmax(-1, keepdim=True), drawn)[:, 0]


class SamplingTable:
    """The settings of every slot, on the device, so that rows with different settings share a batch."""

    def __init__(self, slots: int, device: torch.device) -> None:
        self.talker, self.predictor = LogitsWarper.for_slots(slots, device), LogitsWarper.for_slots(slots, device)
        self.penalty = torch.ones(slots, 1, device=device)
        self.seed = torch.zeros(slots, dtype=torch.int64, device=device)
        self.min_frames = torch.zeros(slots, 1, dtype=torch.int64, device=device)
        self._few = [True] * slots

    def put(self, slot: int, sampling: Sampling) -> None:
        """Set the settings of the slot's request."""
        self._put(slot, sampling)
        s = sampling
        self._few[slot] = (s.greedy or _is_top_k_only(s.top_k, s.top_p)) and (
            s.predictor_greedy or _is_top_k_only(s.predictor_top_k, s.predictor_top_p)
        )

    def put_all(self, sampling: Sampling) -> None:
        """Set the same settings for every slot, during warm-up."""
        self._put(slice(None), sampling)

    def _put(self, slot: int | slice, sampling: Sampling) -> None:
        s = sampling
        self.talker.put(slot, s.temperature, s.top_k, s.top_p, s.greedy)
        self.predictor.put(slot, s.predictor_temperature, s.predictor_top_k, s.predictor_top_p, s.predictor_greedy)
        self.penalty[slot] = s.repetition_penalty
        self.seed[slot] = _signed(s.seed)
        self.min_frames[slot] = s.min_frames

    def clear(self, slot: int) -> None:
        """Mark a slot as free."""
        self._few[slot] = True

    def is_top_k_only(self, slots: Sequence[int] | None = None) -> bool:
        """Whether all rows, or those of these slots, need no sort. Known on the host, without effect on the result."""
        return all(self._few if slots is None else (self._few[slot] for slot in slots))


def penalize(logits: Tensor, seen: Tensor, penalty: Tensor) -> Tensor:
    """Reduce the probability of previous codes. logits, seen [B, vocab]; penalty [B, 1]"""
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


class FrameNoise:
    """The noise of one frame in each row: a hash of (seed, frame, codebook, code) only, independent of slot, batch and
    earlier draws."""

    def __init__(self, seed: Tensor, frame: Tensor, codebooks: int, vocab: int, at_once: bool) -> None:
        """seed and frame are [B]. `at_once`: draw for all codes now, which takes a GPU no longer than for a few."""
        keys = _mix(_mix(seed) + frame)[:, None]
        keys = _mix(keys + torch.arange(codebooks, device=seed.device))[:, :, None]  # [B, codebooks, 1]
        self._keys = keys.unbind(1)
        self._all = _gumbel(keys, torch.arange(vocab, device=seed.device)) if at_once else None

    def of(self, codebook: int) -> Noise:
        """The noise of a codebook."""
        if self._all is None:
            return partial(_gumbel, self._keys[codebook])
        return partial(_look_up, self._all[:, codebook])


def _look_up(noise: Tensor, codes: Tensor) -> Tensor:
    """noise [B, vocab]"""
    return noise.gather(1, codes) if codes.dim() == 2 else noise[:, : len(codes)]


def _gumbel(keys: Tensor, codes: Tensor) -> Tensor:
    # As `_mix`, reduced to the upper 23 bits that are used: it runs sixteen times a frame, so each operation counts.
    x = (keys + codes).mul_(_signed(0x9E3779B97F4A7C15))
    x = x.bitwise_xor_(x >> 30).mul_(_signed(0xBF58476D1CE4E5B9))
    x = x.bitwise_xor_(x >> 27).mul_(_signed(0x94D049BB133111EB))
    # The middle of one of 2**23 equal intervals: float32 represents it exactly, and it is neither 0 nor 1.
    uniform = (x >> 41).float().add_(2**22 + 0.5).mul_(2.0**-23)
    return uniform.log_().neg_().log_().neg_()


def _all_codes(logits: Tensor) -> Tensor:
    return torch.arange(logits.shape[-1], device=logits.device)


def _is_top_k_only(top_k: int, top_p: float) -> bool:
    return 0 < top_k <= TOP_K_ONLY_MAX and top_p >= 1


def _signed(value: int) -> int:
    """The int64 with the low 64 bits of `value`."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right, since int64's own shift extends the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """One draw of splitmix64 from the state x: adjacent states give unrelated values."""
    x = x * _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift(x, 31)
