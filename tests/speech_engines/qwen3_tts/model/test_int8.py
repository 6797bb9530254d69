"""Products and frames with int8 weights on a CPU."""

import pytest
import torch

from speech_engines.qwen3_tts.model import int8
from speech_engines.qwen3_tts.model.cache_ranges import CacheRange
from speech_engines.qwen3_tts.model.frame_model import FrameModel, Sampling
from speech_engines.qwen3_tts.model.weights import make_linear
from tests.support.types import CheckpointOf

pytestmark = pytest.mark.skipif(not int8.is_available(), reason="this CPU has no AVX2")


@torch.inference_mode()
@pytest.mark.parametrize("shape", [(4096, 1024), (1024, 3072)])
def test_a_rows_int8_product_is_the_same_in_every_batch(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=generator) / shape[1] ** 0.5
    x = torch.randn(64, shape[1], generator=generator) * torch.logspace(-3, 3, 64)[:, None]
    linear = make_linear(weight, int8=True)
    alone = torch.cat([linear(row[None]) for row in x])
    for rows in (2, 3, 7, 16, 33, 64):
        assert torch.equal(linear(x[:rows]), alone[:rows])
    assert torch.equal(linear(x[None])[0], alone)
    expected = x @ weight.t()
    error = (alone - expected).norm(dim=1) / expected.norm(dim=1)
    assert 1e-4 < float(error.max()) < 0.04


@torch.inference_mode()
def test_the_largest_inputs_and_weights_do_not_saturate() -> None:
    """Kernels without VNNI add pairs of products in 16 bits."""
    weight = torch.ones(4096, 1024)
    product = make_linear(weight, int8=True)(torch.ones(2, 1024))
    torch.testing.assert_close(product, torch.full_like(product, 1024.0), rtol=1e-4, atol=0)


@torch.inference_mode()
def test_rows_and_weights_of_zeros_give_the_bias() -> None:
    weight = torch.randn(1024, 1024)
    weight[5] = 0
    bias = torch.randn(1024)
    product = make_linear(weight, bias, int8=True)(torch.cat((torch.zeros(1, 1024), torch.ones(1, 1024))))
    assert torch.equal(product[0], bias)
    assert product[1, 5] == bias[5]


SLOTS, POSITIONS, FRAMES = 5, 40, 12


def frames_of(model: FrameModel, slots: list[int]) -> dict[int, list[list[int]]]:
    """The codes of utterances in these slots, each of another prompt, made together."""
    for slot in slots:
        generator = torch.Generator().manual_seed(slot)
        prompt = torch.randn(9 + slot, model.config.talker.hidden_size, generator=generator)
        sampling = Sampling(0.9, 50, 1.0, 1.05, False, 0.9, 50, 1.0, False, seed=slot, min_frames=FRAMES + 1)
        model.begin(slot, CacheRange(slot * POSITIONS, POSITIONS), prompt[:4], sampling)
        model.extend(slot, prompt)
    steps = [model.step(slots)[0].tolist() for _ in range(FRAMES)]
    return {slot: [step[row] for step in steps] for row, slot in enumerate(slots)}


def test_the_codes_of_an_utterance_with_int8_weights_are_the_same_alone_and_in_every_batch(
    tiny_checkpoint: CheckpointOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speech_engines.qwen3_tts.model.weights._SMALL_NUMBERS", 0)  # as if tiny weights were large
    folder = tiny_checkpoint("custom_voice")
    model = FrameModel.read(folder, "cpu", torch.float32, int8=True)
    model.allocate(SLOTS, SLOTS * POSITIONS)
    together = frames_of(model, list(range(SLOTS)))
    for slot in range(SLOTS):
        assert frames_of(model, [slot])[slot] == together[slot]
    assert frames_of(model, [3, 1])[3] == together[3]
    full = FrameModel.load(folder, "cpu", torch.float32, SLOTS, SLOTS * POSITIONS)
    assert frames_of(full, list(range(SLOTS))) != together
