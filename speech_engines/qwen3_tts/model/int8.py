"""Matrix products with int8 weights on a CPU, with FBGEMM.

A weight has one scale for each output, an input one for each row. Sums are exact integers, so a row's result does not
depend on its batch.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

import torch
from torch import Tensor

_LEVELS: Final = 127
# Kernels without VNNI add pairs of products in 16 bits, which saturate: 2 * 254 * 64 is just below 2**15.
_LEVELS_IN_PAIRS: Final = 64
_ZERO_POINT: Final = 128
_SMALLEST: Final = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, slots=True)
class Int8Weight:
    """values [out, in] int8 times scales [out] float32."""

    values: Tensor
    scales: Tensor

    @classmethod
    def quantize(cls, weight: Tensor, levels: int | None = None) -> Self:
        """The nearest int8 weight to weight [out, in], with `levels` steps on each side of 0."""
        weight, levels = weight.float(), levels or weight_levels()
        scales = weight.abs().amax(1).clamp_min(_SMALLEST) / levels
        return cls((weight / scales[:, None]).round_().to(torch.int8), scales)


class Int8Linear:
    """`x @ weight.T + bias`: [B, in], or [1, T, in] of a prompt, float32."""

    def __init__(self, weight: Int8Weight, bias: Tensor | None = None) -> None:
        zeros = torch.zeros(len(weight.scales), dtype=torch.int64)
        tensor = torch._make_per_channel_quantized_tensor(weight.values, weight.scales.double(), zeros, 0)
        self._packed = torch.ops.quantized.linear_prepack(tensor, None)
        self._bias = None if bias is None else bias.float()

    def __call__(self, x: Tensor) -> Tensor:
        # Each row is scaled to -1..1, so that one constant scale serves all of them.
        largest = x.abs().amax(-1, keepdim=True).clamp_min_(_SMALLEST)  # 5 times as fast as a norm
        product: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            x / largest, 1 / _LEVELS, _ZERO_POINT, self._packed
        )
        product.mul_(largest)
        return product if self._bias is None else product.add_(self._bias)


def is_available() -> bool:
    """Whether this build of torch has FBGEMM, and this CPU supports it (AVX2)."""
    return "fbgemm" in torch.backends.quantized.supported_engines


@lru_cache(maxsize=1)
def weight_levels() -> int:
    """The number of weight steps on each side of 0 that this CPU's kernels multiply exactly: fewer without VNNI."""
    rows = torch.ones(1, 64)
    product = Int8Linear(Int8Weight(torch.full((16, 64), _LEVELS, dtype=torch.int8), torch.ones(16)))(rows)
    return _LEVELS if torch.allclose(product, torch.full_like(product, 64.0 * _LEVELS)) else _LEVELS_IN_PAIRS
