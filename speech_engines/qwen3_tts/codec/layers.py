"""The layers of the codec decoder, time-major and causal: `state` defines what is carried from call to call."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from speech_engines.qwen3_tts.codec.state import CodecCall, Convolution, Window
from speech_engines.qwen3_tts.model.weights import as_half, half_linear

_TILE: Final = 4
_POINTS: Final = (0.0, 1.0, -1.0, 0.4, -0.4, 1.25, -1.25, 2.5, -2.5)  # the sum of a tile's outputs and the taps, less 2

# On a CPU, the cost of a matrix product is reading its weights. MKL's kernels for few rows are slow at that; small
# blocks of outputs, each on one core, reach the memory's speed.
_FEW_ROWS: Final = 4  # as rows
_SOME_ROWS: Final = 64  # as columns, for large weights
_BLOCK: Final = 16
_LARGE: Final = 2**20  # elements of weights that exceed the caches of a core
_CACHED: Final = 2**19  # elements of inputs that stay in the caches from one operation to the next


class BlockedLinear:
    """x @ weight.t() + bias, in the form that suits the number of rows, or, if not `exact`, with large weights in fp16
    on a CPU."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, exact: bool = True) -> None:  # [out, in], [out]
        self._packed = None if exact else half_linear(weight, bias)
        if self._packed is not None:
            weight = weight.new_empty(0, 1)
        self._weight, self._bias = weight.contiguous(), bias
        self._is_blocked = self._packed is None and weight.is_cpu and not len(weight) % _BLOCK
        self._most_rows = _SOME_ROWS if weight.numel() >= _LARGE else _FEW_ROWS

    def __call__(self, x: Tensor) -> Tensor:  # [..., in] -> [..., out]
        if self._packed is not None:
            return self._packed(x)
        count = x[..., 0].numel()
        if not self._is_blocked or not 1 < count <= self._most_rows:
            return F.linear(x, self._weight, self._bias)
        if self.takes_columns(count):
            result = self.from_columns(x.reshape(count, -1).t().contiguous())
        else:
            blocks = self._weight.view(-1, _BLOCK, x.shape[-1])
            rows = x.contiguous().view(count, -1).expand(len(blocks), -1, -1)
            result = self._finish(torch.bmm(rows, blocks.transpose(1, 2)).transpose(0, 1), count)
        return result.view(*x.shape[:-1], -1)

    def takes_columns(self, count: int) -> bool:
        """Whether this number of rows is multiplied as columns."""
        return self._is_blocked and _FEW_ROWS < count <= self._most_rows

    def from_columns(self, columns: Tensor) -> Tensor:  # [in, rows] -> [rows, out]
        inputs, count = columns.shape
        blocks = self._weight.view(-1, _BLOCK, inputs)  # [blocks, _BLOCK, in]
        return self._finish(torch.bmm(blocks, columns.expand(len(blocks), -1, -1)).flatten(0, 1).t(), count)

    def _finish(self, product: Tensor, count: int) -> Tensor:
        result = product.contiguous().view(count, -1)
        return result if self._bias is None else result.add_(self._bias)


class CausalConv:
    """A convolution as one matrix product over copies of its windows: for few steps, or few taps."""

    def __init__(
        self, weight: Tensor, bias: Tensor, dilation: int = 1, start: Tensor | float = 0.0, *, exact: bool = True
    ) -> None:
        self._product = BlockedLinear(weight.transpose(1, 2).flatten(1), bias, exact=exact)  # of [out, in, taps]
        self.channels, self._taps = weight.shape[1:]
        self._dilation, self.start = dilation, start
        self.past = (self._taps - 1) * dilation

    def slack(self, steps: int) -> int:
        return 0

    def __call__(self, padded: Tensor, steps: int) -> Tensor:
        streams, length, channels = padded.shape
        if self._product.takes_columns(streams * steps):
            columns = padded.permute(2, 0, 1).contiguous()  # overlapping windows share memory
            windows = columns.as_strided(
                (self._taps, channels, streams, steps), (self._dilation, streams * length, length, 1)
            )
            return self._product.from_columns(windows.reshape(-1, streams * steps)).view(streams, steps, -1)
        sizes = (streams, steps, self._taps, channels)
        windows = padded.as_strided(sizes, (padded.stride(0), channels, self._dilation * channels, 1))
        return self._product(windows.flatten(2))


class Upsampling(CausalConv):
    """A transposed convolution whose kernel is a multiple of the stride: each input gives `stride` outputs, so it is a
    causal convolution with `stride` times the channels (see `by_stride`), and its overlap is that convolution's
    history."""

    def __init__(
        self, weight: Tensor, bias: Tensor, stride: int, start: Tensor | float = 0.0, *, exact: bool = True
    ) -> None:
        super().__init__(weight, bias, start=start, exact=exact)  # of [stride * out, in, taps]
        self._outputs = len(bias) // stride

    def __call__(self, padded: Tensor, steps: int) -> Tensor:
        return super().__call__(padded, steps).view(len(padded), -1, self._outputs)  # [B, T * stride, out]


def by_stride(weight: Tensor, stride: int) -> Tensor:
    """A transposed convolution's weight, [in, out, kernel], as a convolution's: [stride * out, in, kernel / stride]."""
    inputs, outputs, kernel = weight.shape
    taps = weight.view(inputs, outputs, kernel // stride, stride).flip(2)  # the oldest input first
    return taps.permute(3, 1, 0, 2).reshape(stride * outputs, inputs, -1)


class FastConv:
    """A dilated convolution by Toom-Cook's algorithm: `_TILE` outputs of 7 taps for 10 products instead of 28.

    Inputs and kernel are polynomials over time, evaluated at 9 points and infinity, where a matrix product replaces the
    convolution. These points keep the rounding error below 2e-6 of the output.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, dilation: int, start: Tensor | float = 0.0, *, exact: bool = True
    ) -> None:
        self.channels, taps = weight.shape[1:]  # of [out, in, taps]
        self.past = (taps - 1) * dilation
        self._dilation, self._bias, self.start = dilation, bias, start
        spread, kernel, gather = (matrix.to(weight.device) for matrix in _toom_cook(taps))
        self._spread, self._gather = spread.to(weight.dtype), gather.to(weight.dtype)
        # [points, in, out]. Many rows need contiguous rows of outputs in memory; large weights occur with few rows.
        is_large = weight.is_cpu and len(kernel) * weight[..., 0].numel() >= 2 * _LARGE
        if is_large and not exact:
            weight = as_half(weight)  # both ways multiply by the same numbers
        points = torch.einsum("pk,oik->poi", kernel, weight.double()).to(weight.dtype)
        self._weight = points.contiguous().transpose(1, 2)
        if not is_large:
            self._weight = self._weight.contiguous()
        # Reading the points costs more than reading the taps, which dominates for few steps.
        self._few_steps = CausalConv(weight, bias, dilation, exact=exact) if is_large else None

    def slack(self, steps: int) -> int:
        return -steps % (_TILE * self._dilation)

    def __call__(self, padded: Tensor, steps: int) -> Tensor:
        if self._few_steps is not None and len(padded) * steps <= _SOME_ROWS:
            return self._few_steps(padded, steps)
        unit, length = _TILE * self._dilation, padded.shape[1] - self.past
        result = padded.new_empty(len(padded), length, len(self._bias))
        streams, piece = len(padded), length
        if padded.is_cpu:  # several streams one after another, or part of one
            streams = max(1, _CACHED // padded[0].numel())
            piece = max(1, _CACHED // (unit * self.channels)) * unit
        for rows, out in zip(padded.split(streams), result.split(streams), strict=True):
            for first in range(0, length, piece):
                self._convolve(rows[:, first : first + piece + self.past], out[:, first : first + piece])
        return result[:, :steps]

    def _convolve(self, padded: Tensor, out: Tensor) -> None:
        batch, points, row = len(padded), len(self._gather), self._dilation * self.channels
        tiles = out.shape[1] // (_TILE * self._dilation)
        # [points, B, tiles, dilation * C]: the same number of rows for each tile, and the next tile begins _TILE rows
        # later.
        windows = padded.as_strided((points, batch, tiles, row), (row, padded.stride(0), _TILE * row, 1))
        inputs = (self._gather @ windows.reshape(points, -1)).view(points, -1, self.channels)
        products = torch.bmm(inputs, self._weight)  # [points, B * tiles * dilation, out]
        outputs = (self._spread @ products.view(points, -1)).view(_TILE, batch, tiles, self._dilation, -1)
        torch.add(outputs.permute(1, 2, 0, 3, 4), self._bias, out=out.unflatten(1, (tiles, _TILE, self._dilation)))


def _toom_cook(taps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices that map products to outputs, [_TILE, points]; evaluate a kernel, [points, taps]; and gather inputs,
    [points, points]. In float64."""

    def evaluation(terms: int) -> Tensor:
        infinity = torch.eye(terms, dtype=torch.float64)[-1:]
        finite = torch.tensor(_POINTS, dtype=torch.float64)
        return torch.cat((finite[:, None] ** torch.arange(terms), infinity))

    gather = evaluation(_TILE + taps - 1).inverse().t()
    scale = gather.norm(dim=1, keepdim=True)
    return evaluation(_TILE).t(), evaluation(taps) * scale, gather / scale


class ExitConv:
    """A convolution to one channel: a product for each tap at every step, then a sum along diagonals."""

    def __init__(self, weight: Tensor, bias: Tensor, start: Tensor | float = 0.0) -> None:  # [1, in, taps]
        self._taps = weight[0].t().contiguous()  # [taps, in]
        self._bias, self.start = bias, start
        self.past = len(self._taps) - 1
        self.channels = weight.shape[1]

    def slack(self, steps: int) -> int:
        return 0

    def __call__(self, padded: Tensor, steps: int) -> Tensor:
        products = self._taps @ padded.flatten(0, 1).t()  # [taps, B * (past + T)]
        length = products.shape[1]
        diagonals = products.as_strided((len(self._taps), len(padded), steps), (length + 1, padded.shape[1], 1))
        return diagonals.sum(0)[..., None] + self._bias  # [B, T, 1]


class DepthwiseConv:
    """A depthwise convolution."""

    start: Tensor | float = 0.0

    def __init__(self, weight: Tensor, bias: Tensor) -> None:  # [C, 1, taps]
        self._taps = weight[:, 0].t().contiguous()  # [taps, C]
        self._bias = bias
        self.past = len(self._taps) - 1
        self.channels = len(bias)

    def slack(self, steps: int) -> int:
        return 0

    def __call__(self, padded: Tensor, steps: int) -> Tensor:
        result = torch.addcmul(self._bias, padded[:, :steps], self._taps[0])
        for index in range(1, len(self._taps)):
            result.addcmul_(padded[:, index : index + steps], self._taps[index])
        return result


class Snake:
    """x + sin(alpha x)^2 / beta for each channel, up to a constant: sin(a)^2 is (1 - cos(2 a)) / 2. Its rounding error
    is 3e-8 / beta, whatever x is.

    The constant is folded into the next convolution: into its bias, and into its padding before an utterance. Inputs
    may lack a constant in the same way.
    """

    def __init__(self, alpha: Tensor, inverse_beta: Tensor, pending_offset: Tensor | float) -> None:  # [C]
        self._frequency, self._depth = 2 * alpha, inverse_beta / -2
        self._phase = self._frequency * pending_offset
        self.pending_offset: Tensor = inverse_beta / 2 + pending_offset

    def __call__(self, x: Tensor, out: Tensor) -> Tensor:
        wave = torch.addcmul(self._phase, x, self._frequency, out=out).cos_()
        return torch.addcmul(x, wave, self._depth, out=out)


def inverse_beta(logarithm: Tensor) -> Tensor:
    return 1 / (logarithm.exp() + 1e-9)


class ResidualUnit:
    """x + conv2(snake2(conv1(snake1(x)))), up to a constant, in place.

    The second snake's factor is folded into the adjacent weights: the first convolution outputs 2 alpha x, which the
    second one expects.
    """

    def __init__(self, first: Snake, conv: FastConv, depth: Tensor, weight: Tensor) -> None:
        self._first, self._conv, self._depth = first, conv, depth  # [C]
        self._weight = weight  # [C, C] of inputs by outputs

    def __call__(self, x: Tensor, call: CodecCall) -> Tensor:
        hidden = call.convolve(self._conv, x, self._first)
        hidden.addcmul_(hidden.cos(), self._depth)
        return x.baddbmm_(hidden, self._weight.expand(len(x), -1, -1))


@dataclass(frozen=True, slots=True)
class SnakeConv:
    """A snake followed by a convolution."""

    snake: Snake
    convolution: Convolution

    def __call__(self, x: Tensor, call: CodecCall) -> Tensor:
        return call.convolve(self.convolution, x, self.snake)


@dataclass(frozen=True, slots=True)
class UpsamplingStage:
    """A matrix product that expands each step into several, then a ConvNeXt block: a depthwise convolution and two
    products around a GELU, with a residual connection. `shrink` contains the block's layer scale."""

    expand: BlockedLinear
    depthwise: DepthwiseConv
    norm: tuple[Tensor, Tensor]
    grow: BlockedLinear
    shrink: BlockedLinear

    def __call__(self, x: Tensor, call: CodecCall) -> Tensor:
        x = self.expand(x).view(len(x), -1, self.depthwise.channels)
        hidden = F.layer_norm(call.convolve(self.depthwise, x), x.shape[-1:], *self.norm, eps=1e-6)
        return x.add_(self.shrink(F.gelu(self.grow(hidden))))


@dataclass(frozen=True, slots=True)
class TransformerLayer:
    """Attention over a window, then a gated MLP. The norms' weights are folded into the following products, the layer
    scales into `output` and `down`."""

    index: int
    epsilon: float
    qkv: BlockedLinear
    output: BlockedLinear
    gate_up: BlockedLinear
    down: BlockedLinear

    def __call__(self, x: Tensor, call: CodecCall, window: Window) -> Tensor:
        x = x + self.output(self._attend(rms_norm(x, self.epsilon), call, window))
        gate, up = self.gate_up(rms_norm(x, self.epsilon)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)

    def _attend(self, x: Tensor, call: CodecCall, window: Window) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, window.heads, window.head_dim))  # [B, T, 3, heads, head_dim]
        torch.view_as_complex(qkv[:, :, :2].unflatten(-1, (-1, 2))).mul_(call.rotation)
        keys, values = call.extend(self.index, qkv[:, :, 1:]).unbind(1)  # [B, heads, capacity, head_dim]
        seen = F.scaled_dot_product_attention(qkv[:, :, 0].transpose(1, 2), keys, values, call.mask)
        return seen.transpose(1, 2).flatten(2)


def rms_norm(x: Tensor, epsilon: float) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], eps=epsilon)
