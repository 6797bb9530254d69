"""The frame model and the codec for a GPU: in a few fixed shapes, with inputs in fixed places, so that graphs can hold
them. A batch is all slots below a power of two; rows that nobody is in, or that stand still, are computed with the
others and keep their state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from speech_engines.qwen3_tts.codec import Codec
from speech_engines.qwen3_tts.cuda_graph import Graphs, Recorder, Work, bucket, buckets
from speech_engines.qwen3_tts.frame_model import FrameModel

# The positions that attention reads, or a power of two times as many. Most utterances are over within the first.
SPAN: Final = 512


@dataclass(frozen=True, slots=True)
class FrameShape:
    rows: int
    span: int
    few: bool  # see Warp


class BucketedFrames:
    """`FrameModel.step`."""

    def __init__(self, model: FrameModel, recorder: Recorder) -> None:
        self._model = model
        self._active = torch.zeros(model.slots, dtype=torch.bool, device=model.device)
        likely = [FrameShape(rows, min(SPAN, model.places), True) for rows in buckets(model.slots)]
        self.graphs = Graphs(recorder, self._work, self._active.zero_, likely)

    @torch.inference_mode()
    def step(self, slots: Sequence[int]) -> tuple[Tensor, Tensor]:
        model = self._model
        span = SPAN * bucket(-(-(max(model.advance(slots)) + 1) // SPAN), model.places)
        shape = FrameShape(bucket(max(slots) + 1, model.slots), min(span, model.places), model.sampling.is_few())
        work = self.graphs.prepare(shape)
        self._active.copy_(torch.tensor([slot in slots for slot in range(model.slots)]))
        table = work()[list(slots)]  # [B, 17]
        return table[:, :-1], table[:, -1].bool()

    def _work(self, shape: FrameShape) -> Work:
        model, rows = self._model, slice(0, shape.rows)

        @torch.inference_mode()
        def work() -> Tensor:
            active, starts, positions = self._active[rows], model.start[rows], model.position[rows]
            places = torch.where(active, starts + positions, model.talker.cache.nowhere)
            attend = model.talker.cache.batch(starts, positions, places, shape.span)
            codes, ended = model.frame(rows, active, attend, shape.few)
            return torch.cat((codes, ended[:, None]), 1)

        return work


@dataclass(frozen=True, slots=True)
class ChunkShape:
    streams: int
    frames: int


class BucketedCodec:
    """`Codec.decode`, for the chunks of a ramp. The codec has one stream more than there are slots, for nobody."""

    def __init__(self, codec: Codec, slots: int, ramp: Sequence[int], recorder: Recorder, device: torch.device) -> None:
        self._codec, self._slots = codec, slots
        self._streams = torch.full((slots,), slots, device=device)
        self._codes = torch.zeros(slots, max(ramp), 16, dtype=torch.int64, device=device)
        self._ramp = frozenset(ramp)
        likely = [ChunkShape(streams, frames) for streams in buckets(slots) for frames in sorted(self._ramp)]
        self.graphs = Graphs(recorder, self._work, lambda: self._streams.fill_(slots), likely)

    @torch.inference_mode()
    def decode(self, streams: Sequence[int], codes: Tensor) -> Tensor:
        """[B, T, 16] -> [B, T * 1920] samples, which hold until the next call."""
        count, frames = codes.shape[:2]
        if frames not in self._ramp:  # what is left at an utterance's end has any length
            return self._codec.decode(streams, codes)
        work = self.graphs.prepare(ChunkShape(bucket(count, self._slots), frames))
        self._streams.copy_(torch.tensor([*streams, *[self._slots] * (self._slots - count)]))
        self._codes[:count, :frames] = codes
        return work()[:count]

    def _work(self, shape: ChunkShape) -> Work:
        return lambda: self._codec.decode(self._streams[: shape.streams], self._codes[: shape.streams, : shape.frames])
