"""The tensors of model.safetensors, straight to a device, and the matrix products over them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import safe_open
from torch import Tensor

PREFIX: Final = "talker."  # the rest is the speaker encoder
# Products of more rows than this are split by FBGEMM into its kernels of 6 rows first.
_FEW_ROWS: Final = 30
_KERNEL_ROWS: Final = 6
# fp16 holds every bf16 value but the smallest: this much may be lost (half its smallest step).
_FP16_LOSS: Final = 2.0**-25

Linear = Callable[[Tensor], Tensor]


def load_weights(folder: Path, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Each tensor of talker and code predictor by its name in the file."""
    with safe_open(folder / "model.safetensors", framework="pt", device=str(device)) as file:
        names = [name for name in file.keys() if name.startswith(PREFIX)]  # noqa: SIM118
        return {name: file.get_tensor(name).to(dtype) for name in names}


def take(weights: dict[str, Tensor], *names: str) -> Tensor:
    """Remove these tensors, so that a fused copy does not double the memory; many become one, row below row."""
    tensors = [weights.pop(name) for name in names]
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


def make_linear(weight: Tensor, bias: Tensor | None = None) -> Linear:
    """`x @ weight.T + bias`, by what is fastest for a few rows. On a CPU that is FBGEMM with float32 activations over
    fp16 weights, which it packs: exact for bf16 weights, at half the memory traffic of float32."""
    if weight.device.type != "cpu":
        return partial(F.linear, weight=weight, bias=bias)
    weight, bias = weight.float(), None if bias is None else bias.float()
    if not _fits_fp16(weight):
        return partial(F.linear, weight=weight, bias=bias)
    return partial(_packed_linear, torch.ops.quantized.linear_prepack_fp16(weight, bias))


def _fits_fp16(weight: Tensor) -> bool:
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        return False
    return bool((weight - weight.half()).abs().max() <= _FP16_LOSS)  # infinite where one is out of range


def _packed_linear(packed: object, x: Tensor) -> Tensor:
    rows = x.shape[0]
    if padding := _padded_rows(rows) - rows:
        x = torch.cat((x, x[:1].expand(padding, -1)))
    return torch.ops.quantized.linear_dynamic_fp16(x, packed)[:rows]


def _padded_rows(rows: int) -> int:
    """FBGEMM's kernels of one and two rows add in another order than those of three to six, so a row's result would
    depend on who shares its batch. These numbers of rows need none of the two."""
    if rows > _FEW_ROWS:
        return -(-rows // _KERNEL_ROWS) * _KERNEL_ROWS
    return {1: 3, 2: 3, 7: 8, 14: 15}.get(rows, rows)
