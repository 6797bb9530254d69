"""Prefill, decode steps and codec calls on a GPU in a few fixed shapes, with inputs at fixed addresses, so that CUDA
graphs can capture them. A batch is all slots below a power of two; padding rows are computed with the others and
masked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from speech_engines.qwen3_tts.codec.decoder import Codec
from speech_engines.qwen3_tts.model.frame_model import FrameModel
from speech_engines.qwen3_tts.model.patterns import pattern
from speech_engines.qwen3_tts.model.sampling import Sampling
from speech_engines.qwen3_tts.runner.cuda_graph import Graphs, Recorder, Work, bucket, buckets

# The positions that attention reads, for the longest row. Beyond that, 160 s, a step runs kernel by kernel.
SPANS: Final = (512, 2048)
# Positions of a prompt. Longer ones, of recordings over half a minute, run kernel by kernel, and in pieces.
PROMPTS: Final = (32, 64, 128, 256, 512)
# For one call of the codec: streams times frames limit the memory of its activations. Longer chunks are several calls.
CALL_STREAMS: Final = 8
CALL_FRAMES: Final = (4, 2, 1)
_CHECKED: Final = Sampling(
    temperature=0.9, top_k=50, top_p=1.0, repetition_penalty=1.05, greedy=False, predictor_temperature=0.9,
    predictor_top_k=50, predictor_top_p=1.0, predictor_greedy=False, seed=1,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FrameShape:
    """The shape of a captured frame."""

    rows: int
    span: int
    top_k_only: bool  # see LogitsWarper

    def __str__(self) -> str:
        return f"a frame of {self.rows} rows and {self.span} positions"


class BucketedFrames:
    """`FrameModel.step`."""

    def __init__(self, model: FrameModel, recorder: Recorder) -> None:
        self._model = model
        self._active = torch.zeros(model.slots, dtype=torch.bool, device=model.device)
        spans = sorted({min(span, model.cache_positions) for span in SPANS}, reverse=True)
        shapes = [FrameShape(rows, span, True) for span in spans for rows in reversed(row_counts(model.slots, span))]
        self.graphs = Graphs(recorder, self._work, self._prepare, lambda _: model.pending, shapes)

    @torch.inference_mode()
    def step(self, slots: Sequence[int]) -> tuple[Tensor, Tensor]:
        model = self._model
        longest = max(model.advance(slots)) + 1
        try:
            span = next((span for span in SPANS if longest <= span), bucket(longest, model.cache_positions))
            rows = next(rows for rows in row_counts(model.slots, span) if rows > max(slots))
            shape = FrameShape(rows, min(span, model.cache_positions), model.sampling.is_top_k_only())
            self._active.copy_(torch.tensor([slot in slots for slot in range(model.slots)]))
            table = self.graphs.get(shape)()[list(slots)]  # [B, 17]
        except RuntimeError:
            model.rewind(slots)
            raise
        return table[:, :-1], table[:, -1].bool()

    def _work(self, shape: FrameShape) -> Work:
        model, rows = self._model, slice(0, shape.rows)

        @torch.inference_mode()
        def work() -> Tensor:
            active, starts, positions = self._active[rows], model.start[rows], model.position[rows]
            cache_positions = torch.where(active, starts + positions, model.talker.cache.scratch_position)
            attend = model.talker.cache.batch(starts, positions, cache_positions, shape.span)
            codes, ended = model.frame(rows, active, attend, shape.top_k_only)
            return torch.cat((codes, ended[:, None]), 1)

        return work

    def _prepare(self, shape: FrameShape) -> None:
        """Each row at a different one of the last positions of the span, after the same content."""
        model = self._model
        self._active.copy_(torch.arange(model.slots, device=model.device) < shape.rows)
        model.fill_for_warm_up(max(0, shape.span - model.slots - 1), _CHECKED)


def row_counts(slots: int, span: int) -> list[int]:
    """Batch sizes that a frame is captured for: powers of two and the maximum; every other one for long rows, of which
    there are few, as each graph costs about fifty milliseconds of a load."""
    counts = buckets(slots)
    return counts if span <= SPANS[0] else counts[::-1][::2][::-1]


@dataclass(frozen=True, slots=True)
class PromptShape:
    """The shape of a captured prompt."""

    positions: int

    def __str__(self) -> str:
        return f"a prompt of {self.positions} positions"


class BucketedPrompts:
    """`FrameModel.extend` for whole prompts; padding follows them."""

    def __init__(self, model: FrameModel, recorder: Recorder) -> None:
        self._model = model
        lengths = [length for length in PROMPTS if length <= model.cache_positions]
        hidden = model.config.talker.hidden_size
        self._embeds = torch.zeros(max(lengths, default=0), hidden, device=model.device, dtype=model.dtype)
        self._start, self._count = (torch.zeros(1, dtype=torch.int64, device=model.device) for _ in range(2))
        shapes = [PromptShape(length) for length in reversed(lengths)]
        self.graphs = Graphs(recorder, self._work, self._prepare, lambda _: (), shapes)

    @torch.inference_mode()
    def extend(self, slot: int, embeds: Tensor) -> None:
        """The next part of the slot's prompt, [T, H]."""
        model, count = self._model, len(embeds)
        length = next((length for length in PROMPTS if count <= length), 0)
        shape = PromptShape(length)
        if model.lengths[slot] or not self.graphs.has(shape):
            model.extend(slot, embeds)
            return
        model.check_room(slot, count)
        self._embeds[:count] = embeds
        self._start.copy_(model.start[slot : slot + 1])
        self._count.fill_(count)
        result = self.graphs.get(shape)()  # [1, H + vocab]
        hidden, logits = result.split((self._embeds.shape[1], result.shape[1] - self._embeds.shape[1]), 1)
        model.finish_prefill(slot, hidden, logits, count)

    def _work(self, shape: PromptShape) -> Work:
        talker = self._model.talker

        @torch.inference_mode()
        def work() -> Tensor:
            hidden = talker.prefill_padded(self._start, self._count, self._embeds[: shape.positions])
            return torch.cat((hidden.float(), talker.logits(hidden)), 1)

        return work

    def _prepare(self, shape: PromptShape) -> None:
        self._embeds.copy_(pattern(self._embeds))
        self._start.zero_()
        self._count.fill_(shape.positions - shape.positions // 8)


@dataclass(frozen=True, slots=True)
class ChunkShape:
    """The shape of a captured codec call."""

    streams: int
    frames: int

    def __str__(self) -> str:
        return f"a chunk of {self.streams} streams and {self.frames} frames"


class BucketedCodec:
    """`Codec.decode` with a limited number of streams and frames a call. The codec has one stream more than there are
    slots, for padding."""

    def __init__(self, codec: Codec, slots: int, recorder: Recorder, device: torch.device) -> None:
        self._codec, self._slots, self._device = codec, slots, device
        self._most = min(CALL_STREAMS, slots)
        self._streams = torch.full((self._most,), slots, device=device)
        self._codes = torch.zeros(self._most, CALL_FRAMES[0], 16, dtype=torch.int64, device=device)
        shapes = [ChunkShape(streams, frames) for streams in sorted({1, self._most})[::-1] for frames in CALL_FRAMES]
        self.graphs = Graphs(recorder, self._work, self._prepare, lambda _: (), shapes)

    @torch.inference_mode()
    def decode(self, streams: Sequence[int], codes: Tensor) -> Tensor:
        """[B, T, 16] -> [B, T * 1920] samples."""
        samples = self._codec.frame_samples
        result = torch.empty(len(codes), codes.shape[1] * samples, device=self._device)
        if not all(self.graphs.has(shape) for shape in self.graphs.shapes):
            self._reserve()
        for row in range(0, len(codes), self._most):
            rows = slice(row, row + self._most)
            for first, frames in pieces(codes.shape[1]):
                part = codes[rows, first : first + frames]
                result[rows, first * samples : (first + frames) * samples] = self._call(streams[rows], part)
        return result

    def _call(self, streams: Sequence[int], codes: Tensor) -> Tensor:
        count, frames = codes.shape[:2]
        self._streams.copy_(torch.tensor([*streams, *[self._slots] * (self._most - count)]))
        self._codes[:count, :frames] = codes
        return self.graphs.get(ChunkShape(1 if count == 1 else self._most, frames))()[:count]

    def _reserve(self) -> None:
        """Reserve memory for a call without a graph, so that a failure leaves the state unchanged: a stream's state is
        updated layer by layer."""
        torch.empty(self._codec.call_bytes(self._most, CALL_FRAMES[0]), dtype=torch.uint8, device=self._device)

    def _work(self, shape: ChunkShape) -> Work:
        return lambda: self._codec.decode(self._streams[: shape.streams], self._codes[: shape.streams, : shape.frames])

    def _prepare(self, shape: ChunkShape) -> None:
        for stream in range(shape.streams):
            self._codec.reset(stream)
        self._streams.copy_(torch.arange(self._most, device=self._device))
        numbers = torch.arange(self._codes.numel(), device=self._device)
        self._codes.copy_((numbers * 37 % 2048).view(self._codes.shape))


def pieces(frames: int) -> Iterator[tuple[int, int]]:
    """The starts of the calls for `frames` frames, and the length of each."""
    first = 0
    for size in CALL_FRAMES:
        while frames - first >= size:
            yield first, size
            first += size
