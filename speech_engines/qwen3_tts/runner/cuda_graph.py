"""CUDA graphs: work of fixed shapes, captured once and then launched as a whole. A frame has some 2,000 kernels of a
few microseconds each; launched individually, the GPU would wait for the CPU most of the time."""

import logging
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Final, Generic, Protocol, TypeVar

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

# Tolerance between a replay and the same work run kernel by kernel; codes must be equal.
TOLERANCE: Final = 1e-3

Work = Callable[[], Tensor]
K = TypeVar("K", bound=Hashable)


class Recorder(Protocol):
    """Captures work for cheap launches."""

    def run(self, work: Work) -> Tensor:
        """Run the work once in the capture environment: libraries select kernels and allocate memory in a run that is
        not captured."""
        ...

    def record(self, work: Work) -> Work:
        """Capture `work` with its current inputs and outputs. Raises RuntimeError if it can't be captured."""
        ...


class CudaRecorder:
    """Captures CUDA graphs. They share one memory pool, so a result is valid until the next run of any of them, and the
    largest is captured first: the others fit into its memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)

    def run(self, work: Work) -> Tensor:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = work()
        current.wait_stream(self._stream)
        return result

    def record(self, work: Work) -> Work:
        current = torch.cuda.current_stream(self._device)
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may use the GPU in the meantime: they compute voices.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                result = work()
        finally:
            torch.cuda.set_stream(current)  # a failed capture leaves the thread on the recorder's
        current.wait_stream(self._stream)

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay


class Graphs(Generic[K]):
    """Work by shape, captured at the load and never later: a shape without a graph runs kernel by kernel.

    `make(shape)` returns the work. `prepare(shape)` sets all inputs of the work to values that depend on the shape
    only, before there are requests; `watch(shape)` returns its side effects besides its result. `shapes` are those to
    capture.
    """

    def __init__(
        self,
        recorder: Recorder,
        make: Callable[[K], Work],
        prepare: Callable[[K], object],
        watch: Callable[[K], Sequence[Tensor]],
        shapes: Iterable[K],
    ) -> None:
        self._recorder, self._make, self._prepare, self._watch = recorder, make, prepare, watch
        self.shapes = tuple(shapes)
        self.unused: list[str] = []  # sentences on shapes whose graphs are not used
        self._recorded: dict[K, Work] = {}

    def has(self, shape: K) -> bool:
        """Whether that shape has a graph, which allocates no memory when it runs."""
        return shape in self._recorded

    def get(self, shape: K) -> Work:
        """The callable for this shape, once its inputs are in place."""
        return self._recorded.get(shape) or self._make(shape)

    @torch.inference_mode()
    def record_all(self) -> None:
        """Capture each shape, and compare it with the same work run kernel by kernel. A graph that fails to capture, or
        gives another result, is not used."""
        for shape in self.shapes:
            work = self._make(shape)
            self._prepare(shape)
            try:
                expected = self._seen(shape, self._recorder.run(work))
                replay = self._recorder.record(work)
                self._prepare(shape)
                is_same = all(map(agrees, self._seen(shape, replay()), expected))
            except RuntimeError as error:  # including out of memory
                logger.exception("%s could not be captured, and runs kernel by kernel", shape)
                self.unused.append(f"The CUDA graph of {shape} could not be captured ({type(error).__name__}).")
                continue
            if is_same:
                self._recorded[shape] = replay
            else:
                logger.warning("the graph of %s differs from its kernels run one by one, which are used instead", shape)
                self.unused.append(f"The CUDA graph of {shape} gives other results than its kernels one by one.")

    def _seen(self, shape: K, result: Tensor) -> list[Tensor]:
        return [tensor.clone() for tensor in (result, *self._watch(shape))]


def agrees(tensor: Tensor, expected: Tensor) -> bool:
    """Whether two results are equal: codes exactly, other numbers up to rounding. Waits for the device."""
    if not tensor.is_floating_point():
        return torch.equal(tensor, expected)
    return torch.allclose(tensor.float(), expected.float(), rtol=TOLERANCE, atol=TOLERANCE)


def bucket(count: int, most: int) -> int:
    """The power of two from `count` on, but at most `most`."""
    return min(1 << (count - 1).bit_length(), most)


def buckets(most: int) -> list[int]:
    """All possible values of `bucket`."""
    return sorted({bucket(count, most) for count in range(1, most + 1)})
