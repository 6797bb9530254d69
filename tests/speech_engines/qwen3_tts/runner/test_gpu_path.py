"""The GPU path on a fake GPU: every device, dtype and shape of it, but no values."""

import importlib.util

import pytest
import torch

from speech_engines.qwen3_tts.codec.decoder import Codec
from speech_engines.qwen3_tts.model.cache_ranges import CacheRange
from speech_engines.qwen3_tts.model.frame_model import FrameModel
from speech_engines.qwen3_tts.runner.bucketed import (
    CALL_FRAMES,
    PROMPTS,
    BucketedCodec,
    BucketedFrames,
    BucketedPrompts,
    ChunkShape,
    FrameShape,
    PromptShape,
)
from tests.speech_engines.qwen3_tts.model.test_frame_model import DRAWN
from tests.support.fake_gpu import GPU, Launches, fake_gpu
from tests.support.tape import TapeRecorder
from tests.support.types import CheckpointOf

pytestmark = pytest.mark.skipif(importlib.util.find_spec("qwen_tts") is None, reason="needs the extra 'qwen'")

SLOTS, PLACES = 8, 4096
# With the tiny checkpoint. Each takes some 2 us, whatever little it computes.
FRAME_KERNELS = {FrameShape(1, 512, True): 590, FrameShape(SLOTS, PLACES, False): 770}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("projection", [False, True], ids=["equal widths", "projection"])
def test_a_frame_can_be_recorded(tiny_checkpoint: CheckpointOf, projection: bool, dtype: torch.dtype) -> None:
    folder = tiny_checkpoint("custom_voice", projection)
    with fake_gpu():
        frames = BucketedFrames(FrameModel.load(folder, GPU, dtype, SLOTS, PLACES), TapeRecorder())
        for shape, kernels in FRAME_KERNELS.items():
            with Launches() as launches:
                table = frames._work(shape)()
            assert table.shape == (shape.rows, 17)
            assert launches.count <= kernels


def test_a_prompt_is_read_on_the_gpu(tiny_checkpoint: CheckpointOf) -> None:
    folder = tiny_checkpoint("custom_voice")
    with fake_gpu():
        model = FrameModel.load(folder, GPU, torch.bfloat16, SLOTS, PLACES)
        hidden = model.config.talker.hidden_size
        model.begin(3, CacheRange(700, 100), torch.empty(5, hidden, device=GPU), DRAWN)
        for positions in (20, 7):
            embeds = torch.empty(positions, hidden, device=GPU, dtype=torch.bfloat16)
            with Launches():
                model.extend(3, embeds)
        assert model.lengths[3] == 27


def test_a_whole_prompt_can_be_recorded(tiny_checkpoint: CheckpointOf) -> None:
    folder = tiny_checkpoint("custom_voice")
    with fake_gpu():
        model = FrameModel.load(folder, GPU, torch.bfloat16, SLOTS, PLACES)
        prompts = BucketedPrompts(model, TapeRecorder())
        for positions in PROMPTS:
            with Launches():
                result = prompts._work(PromptShape(positions))()
            assert result.shape == (1, model.config.talker.hidden_size + model.config.talker.vocab_size)


@pytest.mark.parametrize("frames", CALL_FRAMES)
def test_a_chunk_can_be_recorded(tiny_checkpoint: CheckpointOf, frames: int) -> None:
    folder = tiny_checkpoint("custom_voice")
    with fake_gpu():
        codec = Codec.load(folder, GPU, SLOTS + 1)
        chunks = BucketedCodec(codec, SLOTS, TapeRecorder(), GPU)
        for streams in (1, SLOTS):
            with Launches():
                samples = chunks._work(ChunkShape(streams, frames))()
            assert samples.shape == (streams, frames * Codec.frame_samples)
