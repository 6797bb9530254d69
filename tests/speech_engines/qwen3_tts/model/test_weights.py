"""Products with bfloat16 weights on a CPU, by its matrix unit if it has one."""

import pytest
import torch

from speech_engines.qwen3_tts.model.weights import make_linear


@pytest.mark.parametrize("shape", [(4096, 1024), (1024, 3072), (128, 64), (2048, 64)])
def test_a_rows_product_does_not_depend_on_its_batch(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = (torch.randn(shape, generator=generator) / shape[1] ** 0.5).bfloat16()
    x = torch.randn(64, shape[1], generator=generator)
    with torch.inference_mode():
        linear = make_linear(weight)
        alone = torch.cat([linear(row[None]) for row in x])
        for rows in (2, 7, 16, 17, 31, 64):
            assert torch.equal(linear(x[:rows]), alone[:rows])
        expected = x @ weight.float().t()
    # bfloat16 has eight bits.
    assert float((alone - expected).abs().max() / expected.abs().max()) < 2**-6
