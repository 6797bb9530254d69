"""The fixed shapes of a GPU, recorded on a CPU by a tape, compared with the same requests without them."""

import importlib.util
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from speech_engines.qwen3_tts.codec.decoder import Codec
from speech_engines.qwen3_tts.model.frame_model import FrameModel
from speech_engines.qwen3_tts.runner.bucketed import BucketedCodec, BucketedFrames, row_counts
from speech_engines.qwen3_tts.runner.cuda_graph import bucket, buckets
from tests.speech_engines.qwen3_tts.model.test_frame_model import PLANS, POSITIONS, prefill, requests_like, run
from tests.support.tape import TapeRecorder
from tests.support.types import CheckpointOf

pytestmark = pytest.mark.skipif(importlib.util.find_spec("qwen_tts") is None, reason="needs the extra 'qwen'")


@pytest.fixture(scope="module")
def model(tiny_checkpoint: CheckpointOf) -> FrameModel:
    return FrameModel.load(tiny_checkpoint("custom_voice"), "cpu", torch.float32, 8, 8 * POSITIONS)


class Bucketed:
    """The model with its step in buckets, as the plans' runner takes it."""

    def __init__(self, model: FrameModel, recorder: TapeRecorder) -> None:
        self.frames = BucketedFrames(model, recorder)
        self._model = model

    def step(self, slots: Sequence[int]) -> tuple[Tensor, Tensor]:
        return self.frames.step(slots)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def test_buckets_are_powers_of_two_up_to_all() -> None:
    assert buckets(6) == [1, 2, 4, 6]
    assert [bucket(count, 6) for count in range(1, 7)] == [1, 2, 4, 4, 6, 6]


def test_long_rows_have_every_other_number_of_rows() -> None:
    assert row_counts(64, 512) == [1, 2, 4, 8, 16, 32, 64]
    assert row_counts(64, 2048) == [1, 4, 16, 64]
    assert row_counts(6, 2048) == [2, 6]
    assert all(row_counts(slots, 2048)[-1] == slots for slots in range(1, 70))


@pytest.mark.parametrize("recorded", [False, True], ids=["kernel by kernel", "recorded"])
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_steps_in_buckets_say_what_steps_of_the_very_rows_say(
    model: FrameModel, plan: list[tuple[int, int, int]], recorded: bool
) -> None:
    requests = requests_like(model)
    expected = run(model, plan, requests)
    recorder = TapeRecorder(fails=not recorded)
    bucketed = Bucketed(model, recorder)
    bucketed.frames.graphs.record_all()
    assert bool(recorder.recordings) == recorded
    for codes, others in zip(run(bucketed, plan, requests), expected, strict=True):  # type: ignore[arg-type]
        assert torch.equal(codes, others)


def test_rows_that_stand_still_keep_their_state(model: FrameModel) -> None:
    request = requests_like(model)[0]
    alone = run(model, [(0, 3, 12)], [request])[0]
    bucketed = BucketedFrames(model, TapeRecorder())
    prefill(model, 3, request.embeds, request.trailing, request.sampling)
    prefill(model, 1, request.embeds, request.trailing, request.sampling)
    said = [bucketed.step([3])[0][0] for _ in range(6)]
    for _ in range(4):
        bucketed.step([1])
    said += [bucketed.step([3])[0][0] for _ in range(6)]
    assert torch.equal(torch.stack(said), alone)


def test_chunks_in_buckets_are_the_samples_of_decoding_each_stream(tiny_checkpoint: CheckpointOf) -> None:
    folder, cpu = tiny_checkpoint("custom_voice"), torch.device("cpu")
    codec, plain = Codec.load(folder, cpu, 5), Codec.load(folder, cpu, 4)
    recorder = TapeRecorder()
    bucketed = BucketedCodec(codec, 4, recorder, cpu)
    bucketed.graphs.record_all()
    assert recorder.recordings == 6
    assert not bucketed.graphs.unused
    for stream in range(4):
        codec.reset(stream)
    codes = torch.randint(0, 2048, (4, 60, 16), generator=torch.Generator().manual_seed(1))
    cache_positions = [0] * 4
    for streams, frames in [
        ([2], 1),
        ([0, 2], 2),
        ([3, 1, 0], 4),
        ([2], 3),
        ([1, 2, 3], 4),
        ([0, 1, 2, 3], 1),
        ([3], 7),
    ] * 2:
        chunk = torch.stack(
            [codes[stream, cache_positions[stream] : cache_positions[stream] + frames] for stream in streams]
        )
        for stream in streams:
            cache_positions[stream] += frames
        torch.testing.assert_close(bucketed.decode(streams, chunk), plain.decode(streams, chunk), rtol=0, atol=1e-5)
