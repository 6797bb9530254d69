"""The state of the codec decoder between calls, and a call that continues from it.

A layer is causal and needs a fixed number of earlier inputs: the left context of a convolution, the keys and values of
an attention window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Convolution(Protocol):
    """A causal convolution: its state is the last `past` inputs of `channels` channels, initially `start`."""

    past: int
    channels: int
    start: Tensor | float  # [channels]

    def slack(self, steps: int) -> int:
        """The number of zero steps that it needs after its input."""

    def __call__(self, padded: Tensor, steps: int) -> Tensor:
        """[B, past + steps + slack, channels] -> [B, T, out]."""


class Activation(Protocol):
    """An elementwise function, [B, T, C], applied before a convolution."""

    def __call__(self, x: Tensor, out: Tensor) -> Tensor: ...


# The rows of a state that a call uses. A slice gives views, an index tensor copies.
Rows = slice | Tensor


@dataclass(frozen=True, slots=True)
class StreamState:
    """The state of one stream, as far as later frames depend on it."""

    histories: Tensor  # [inputs of all convolutions]
    ring: Tensor  # [layers, 2, heads, at most window - 1, head_dim] of its last frames
    frames: int

    @property
    def size_bytes(self) -> int:
        """The size of the state in bytes."""
        return self.histories.nbytes + self.ring.nbytes


class State:
    """The state of all utterances, one row each, in buffers of fixed size."""

    def __init__(
        self, streams: int, convolutions: Sequence[Convolution], layers: int, window: "Window", like: Tensor
    ) -> None:
        sizes = [convolution.past * convolution.channels for convolution in convolutions]
        starts = [(like.new_zeros(c.past, c.channels) + c.start).flatten() for c in convolutions]
        self._start = torch.cat(starts)
        self._flat = self._start.repeat(streams, 1)
        self.histories = {
            convolution: flat.view(streams, convolution.past, convolution.channels)
            for convolution, flat in zip(convolutions, self._flat.split(sizes, 1), strict=True)
        }
        # Keys and values that a call's first frame can attend to, and those of the call: frame n is in slot n %
        # capacity.
        self._seen_frames = window.size - 1
        capacity = self._seen_frames + window.call_frames
        self.rings = like.new_zeros(layers, streams, 2, window.heads, capacity, window.head_dim)
        self.positions = torch.zeros(streams, dtype=torch.int64, device=like.device)  # frames decoded so far

    def reset(self, stream: int) -> None:
        """Clear a row for a new utterance."""
        self._flat[stream] = self._start
        self.positions[stream].zero_()  # the mask hides the old content of the rings

    def save(self, stream: int, frames: int) -> StreamState:
        """A copy of the stream's state, which is at `frames`."""
        return StreamState(self._flat[stream].clone(), self.rings[:, stream, :, :, self._slots(frames)], frames)

    def restore(self, stream: int, saved: StreamState) -> None:
        """Set a row to a saved state."""
        self._flat[stream] = saved.histories
        self.rings[:, stream, :, :, self._slots(saved.frames)] = saved.ring
        self.positions[stream].fill_(saved.frames)

    def _slots(self, frames: int) -> Tensor:
        """The slots of the window that the next frame can attend to, after `frames` frames."""
        seen = torch.arange(max(0, frames - self._seen_frames), frames, device=self.rings.device)
        return seen % self.rings.shape[4]


@dataclass(frozen=True, slots=True)
class Window:
    """Attention over the last `size` frames, including the current one, for at most `call_frames` in one call."""

    size: int
    call_frames: int
    heads: int
    head_dim: int
    frequencies: Tensor  # [head_dim / 2] radians a frame


class CodecCall:
    """One call: the rows of the state that its batch continues, and values that its layers share."""

    def __init__(self, state: State, rows: Rows, frames: int, window: Window) -> None:
        self._state, self._rows, self._frames = state, rows, frames
        device, streams, capacity = state.positions.device, len(state.positions), state.rings.shape[4]
        start = state.positions[rows][:, None]  # [B, 1]
        queries = start + torch.arange(frames, device=device)  # [B, T] the frames' positions
        last, slots = start + frames - 1, torch.arange(capacity, device=device)
        keys = last - (last - slots) % capacity  # [B, capacity] position in each slot, negative if empty
        age = queries[:, :, None] - keys[:, None]
        is_seen = ((age >= 0) & (age < window.size) & (keys >= 0)[:, None])[:, None]  # [B, 1, T, capacity]
        self.mask = torch.zeros_like(is_seen, dtype=state.rings.dtype).masked_fill_(~is_seen, float("-inf"))
        angles = queries[:, :, None, None, None] * window.frequencies
        self.rotation = torch.polar(torch.ones_like(angles), angles)  # [B, T, 1, 1, head_dim / 2]
        self._places = (torch.arange(streams, device=device)[rows][:, None], queries % capacity)

    def convolve(self, convolution: Convolution, x: Tensor, snake: Activation | None = None) -> Tensor:
        """`x`, [B, T, C], through the snake if there is one, then through the convolution, with its left context."""
        steps, past = x.shape[1], convolution.past
        history = self._state.histories[convolution]
        padded = x.new_empty(len(x), past + steps + convolution.slack(steps), convolution.channels)
        padded[:, :past] = history[self._rows]
        fresh = padded[:, past : past + steps]
        if snake:
            snake(x, out=fresh)
        else:
            fresh.copy_(x)
        padded[:, past + steps :] = 0
        history[self._rows] = padded[:, steps : steps + past]
        return convolution(padded, steps)

    def extend(self, layer: int, fresh: Tensor) -> Tensor:
        """Append `fresh`, [B, T, 2, heads, head_dim], to the ring -> its content, [B, 2, heads, capacity, head_dim]."""
        ring = self._state.rings[layer]
        rows, slots = self._places
        ring[rows, :, :, slots] = fresh
        return ring[self._rows]

    def end(self) -> None:
        """Advance the rows' frame counters."""
        self._state.positions[self._rows] += self._frames
