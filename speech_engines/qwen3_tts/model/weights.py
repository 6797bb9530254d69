"""The tensors of a checkpoint, loaded directly to a device, and the matrix products over them."""

import os
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import safe_open
from torch import Tensor

from speech_engines.qwen3_tts.checkpoint.files import tensor_files
from speech_engines.qwen3_tts.model.int8 import Int8Linear, Int8Weight

PREFIX: Final = "talker."  # the rest is the speaker encoder
TEXT_EMBEDDING: Final = "talker.model.text_embedding.weight"
# What `Weights.linear` takes, and a table of which an utterance reads a few rows.
_CONVERTED_LATER: Final = re.compile(r"\.layers\.\d+\..*_proj\.weight$|head\b.*\.weight$|\.text_embedding\.weight$")
# Products of more rows than this are split by FBGEMM into its kernels of 6 rows first.
_FEW_ROWS: Final = 30
_KERNEL_ROWS: Final = 6
_TILE_ROWS: Final = 16  # of AMX
# Smaller weights stay in a core's cache: the cost of a call dominates, not the memory's speed.
_SMALL_NUMBERS: Final = 2**18
_SMALL_TILE_ROWS: Final = 1
# Of the weights that are timed: large enough not to stay in a core's own cache.
_PROBE_SHAPE: Final = (6144, 2048)
_PROBE_ROUNDS: Final = 9
# fp16 holds every bf16 value but the smallest: this much may be lost (half its smallest step).
_FP16_LOSS: Final = 2.0**-25
# What rounding float32 weights to fp16 may lose, as a part of their norm; 2**-12.7 is usual.
_FP16_ROUNDING: Final = 2.0**-11

# [B, in] of a batch, or [1, T, in] of a prompt, which is alone: only a batch's rows must not depend on their number
Linear = Callable[[Tensor], Tensor]
Adding = Callable[[Tensor, Tensor], object]
T = TypeVar("T")


class Weights(dict[str, Tensor]):
    """Tensors by their names in the checkpoint. On a CPU those that `linear` packs, and the table of text embeddings,
    are as in the file: pages that nothing has read yet take no memory."""

    def __init__(self, tensors: Mapping[str, Tensor], dtype: torch.dtype, *, int8: bool = False) -> None:
        super().__init__(tensors)
        self._dtype, self._int8 = dtype, int8

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Linear:
        """`x @ weight.T + bias`, see `make_linear`."""
        return make_linear(weight.to(self._dtype), None if bias is None else bias.to(self._dtype), int8=self._int8)

    def adding(self, weight: Tensor) -> Adding:
        """`y += x @ weight.T`, in place, given y and x: one kernel of a GPU."""
        if weight.device.type != "cpu":
            transposed = weight.t()
            return lambda y, x: y.view(-1, y.shape[-1]).addmm_(x.view(-1, x.shape[-1]), transposed)
        linear = self.linear(weight)
        return lambda y, x: y.add_(linear(x if x.dim() == y.dim() else x[None]))


def load_weights(folder: Path, device: torch.device, dtype: torch.dtype, *, int8: bool = False) -> Weights:
    """Each tensor of talker and code predictor. `int8` is of large products on a CPU; all others are in `dtype`."""

    def convert(name: str, tensor: Tensor) -> Tensor:
        is_later = device.type == "cpu" and _CONVERTED_LATER.search(name)
        return tensor if is_later else tensor.to(dtype)

    tensors = {name: convert(name, tensor) for name, tensor in read_tensors(folder, PREFIX, device)}
    return Weights(tensors, dtype, int8=int8)


def read_tensors(folder: Path, prefix: str, device: torch.device) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors in `folder`, in one file or several, whose names begin with `prefix`."""
    for path in tensor_files(folder, prefix):
        with safe_open(path, framework="pt", device=str(device)) as file:
            for name in file.keys():  # noqa: SIM118  (it is no dict)
                if name.startswith(prefix):
                    yield name, file.get_tensor(name)


def take(weights: dict[str, Tensor], *names: str) -> Tensor:
    """Remove these tensors, so that a fused copy does not double the memory; several are concatenated by rows."""
    tensors = [weights.pop(name) for name in names]
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


def side_by_side(weight: Tensor, head_dim: int) -> Tensor:
    """The halves of each head that rotate together as neighbours: the two parts of complex numbers. weight [heads *
    head_dim, ...]; in all that is made of it, queries and keys have this order."""
    halves: Tensor = weight.unflatten(0, (-1, 2, head_dim // 2))
    return halves.transpose(1, 2).reshape(weight.shape)


def build_layers(build: Callable[[int], T], count: int, device: torch.device) -> list[T]:
    """`build(index)` for each layer. Packing weights is most of a load on a CPU, and takes one core a layer."""
    if device.type != "cpu":
        return [build(index) for index in range(count)]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(torch.inference_mode()(build), range(count)))


def make_linear(weight: Tensor, bias: Tensor | None = None, *, int8: bool = False) -> Linear:
    """`x @ weight.T + bias`, by what is fastest for a few rows. On a CPU activations are float32, and weights packed at
    half the memory traffic of that: bfloat16 ones for its matrix unit (AMX) where it has one, which rounds what it
    multiplies to bfloat16; else as fp16, by FBGEMM, which is exact for bfloat16 weights; or, with `int8`, at a quarter.
    Small ones stay float32."""
    if weight.device.type != "cpu":
        return partial(F.linear, weight=weight, bias=bias)
    if weight.numel() <= _SMALL_NUMBERS:
        return _small_linear(weight, bias)
    if int8:
        return Int8Linear(Int8Weight.quantize(weight), bias)
    if weight.dtype is torch.bfloat16 and has_matrix_unit():
        return _matrix_unit_linear(weight, bias)
    weight, bias = weight.float(), None if bias is None else bias.float()
    if not _fits_fp16(weight):
        return partial(F.linear, weight=weight, bias=bias)
    return partial(_packed_linear, torch.ops.quantized.linear_prepack_fp16(weight, bias))


def half_linear(weight: Tensor, bias: Tensor | None = None) -> Linear | None:
    """`x @ weight.T + bias` for float32 x of [..., in], with `as_half(weight)`, packed as fp16 by FBGEMM: half the
    memory to read. A row's result does not depend on the other rows. None for small weights, those that fp16 can't
    hold, and where they are not on a CPU."""
    if not weight.is_cpu or weight.numel() <= _SMALL_NUMBERS or not _is_near_fp16(weight):
        return None
    packed = torch.ops.quantized.linear_prepack_fp16(weight.contiguous(), bias)

    def multiply(x: Tensor) -> Tensor:
        return _packed_linear(packed, x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)

    return multiply


def as_half(weight: Tensor) -> Tensor:
    """`weight` rounded to fp16, in its own type; unchanged if fp16 can't hold it."""
    return weight.half().to(weight.dtype) if _is_near_fp16(weight) else weight


@torch.inference_mode()
def int8_speedup(dtype: torch.dtype) -> float:
    """How many times as fast one row's product with int8 weights is as with those of `dtype`, on this CPU. Takes some
    0.2 s."""
    weight = torch.randn(_PROBE_SHAPE, generator=torch.Generator().manual_seed(0)).bfloat16()
    row = weight[:1].float()
    full, int8 = (make_linear(weight.to(dtype), int8=int8) for int8 in (False, True))
    times_s: dict[Linear, list[float]] = {full: [], int8: []}
    for _ in range(_PROBE_ROUNDS):
        for linear, measured in times_s.items():
            begin_s = time.perf_counter()
            linear(row)
            measured.append(time.perf_counter() - begin_s)
    return statistics.median(times_s[full]) / statistics.median(times_s[int8])


def has_matrix_unit() -> bool:
    """Whether this CPU multiplies bfloat16 tiles in hardware, and torch supports it and may use it."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()  # oneDNN's own setting, which torch can't tell
    is_allowed = limit in ("", "DEFAULT") or "AMX" in limit
    return is_allowed and torch.backends.mkldnn.is_available() and torch.cpu._is_amx_tile_supported()


class _TiledLinear:
    """Products of a fixed number of rows, a tile. How a product adds depends on its number of rows: tile by tile, a
    row's result does not depend on its batch. For one thread at a time.

    `multiply` takes [rows, K] of `dtype`; `room` [tile_rows, K] is for what does not fill a tile.
    """

    def __init__(self, multiply: Linear, room: Tensor) -> None:
        self._multiply, self._room, self._tile_rows = multiply, room, len(room)

    def __call__(self, x: Tensor) -> Tensor:
        if x.dim() == 3:
            return self._multiply(x[0].to(self._room.dtype)).float()[None]
        rows = x.shape[0]  # `len` takes its time
        if rows <= self._tile_rows:
            return self._multiply(self._tile(x, rows))[:rows].float()
        tiles = [self._multiply(self._tile(tile, tile.shape[0])) for tile in x.split(self._tile_rows)]
        return torch.cat(tiles)[:rows].float()

    def _tile(self, x: Tensor, rows: int) -> Tensor:
        if rows == self._tile_rows:
            return x.to(self._room.dtype)
        self._room[:rows] = x
        return self._room


def _matrix_unit_linear(weight: Tensor, bias: Tensor | None) -> Linear:
    """For AMX, where a tile of rows costs as much as one row."""
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, _TILE_ROWS)

    def multiply(x: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
        return product

    return _TiledLinear(multiply, weight.new_zeros(_TILE_ROWS, weight.shape[1]))


def _small_linear(weight: Tensor, bias: Tensor | None) -> Linear:
    columns = weight.float().t().contiguous()
    bias = None if bias is None else bias.float()

    def multiply(x: Tensor) -> Tensor:
        return torch.mm(x, columns) if bias is None else torch.addmm(bias, x, columns)

    return _TiledLinear(multiply, columns.new_zeros(_SMALL_TILE_ROWS, len(columns)))


def _fits_fp16(weight: Tensor) -> bool:
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        return False
    return bool((weight - weight.half()).abs().max() <= _FP16_LOSS)  # infinite where one is out of range


def _is_near_fp16(weight: Tensor) -> bool:
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        return False
    return bool((weight - weight.half()).norm() <= _FP16_ROUNDING * weight.norm())  # infinite where out of range


def _packed_linear(packed: object, x: Tensor) -> Tensor:
    rows = x.shape[0]
    if x.dim() == 2 and (padding := _padded_rows(rows) - rows):
        x = torch.cat((x, x[:1].expand(padding, -1)))
    product: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, packed)
    return product[:rows]


def _padded_rows(rows: int) -> int:
    """FBGEMM's kernels of one and two rows add in another order than those of three to six, so a row's result would
    depend on its batch. These numbers of rows need none of the two."""
    if rows > _FEW_ROWS:
        return -(-rows // _KERNEL_ROWS) * _KERNEL_ROWS
    return {1: 3, 2: 3, 7: 8, 14: 15}.get(rows, rows)
