"""Products with bfloat16 weights on a CPU, by its matrix unit if it has one, and those of the codec."""

import pytest
import torch

from speech_engines.qwen3_tts.model.weights import as_half, half_linear, has_matrix_unit, make_linear


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


def random_weight(outputs: int = 2048, inputs: int = 512) -> torch.Tensor:
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(0)) / inputs**0.5


def test_a_product_in_fp16_is_near_and_no_row_depends_on_the_others() -> None:
    weight, bias = random_weight(), torch.linspace(-1, 1, 2048)
    x = torch.randn(2, 40, 512, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        linear = half_linear(weight, bias)
        assert linear is not None
        expected = (x.double() @ as_half(weight).double().t() + bias).float()
        product = linear(x)
        assert (product - expected).norm() / expected.norm() < 1e-6
        for rows in (1, 2, 3, 7, 14, 31):
            assert torch.equal(linear(x[:1, :rows]), product[:1, :rows])
    assert 1e-5 < (as_half(weight) - weight).norm() / weight.norm() < 3e-4


@pytest.mark.parametrize("factor", [1e6, 1e-6])
def test_weights_out_of_the_range_of_fp16_keep_their_precision(factor: float) -> None:
    weight = random_weight() * factor
    assert half_linear(weight) is None
    assert torch.equal(as_half(weight), weight)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("", True), ("default", True), ("AVX512_CORE_AMX", True), ("AVX2", False), ("AVX512_CORE_BF16", False)],
)
def test_a_matrix_unit_that_onednn_may_not_use_is_not_used(
    monkeypatch: pytest.MonkeyPatch, limit: str, expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert has_matrix_unit() is expected
