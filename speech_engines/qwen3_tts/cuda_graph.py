"""Work of fixed shapes, recorded once and then launched as a whole: a frame is some 2,000 kernels, each over in
microseconds, and launched one by one a GPU would wait for the CPU most of the time."""

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Final, Generic, Protocol, TypeVar

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

# Shapes that nobody foresaw are recorded, which takes as long as some runs, once they are seen to come again.
PATIENCE: Final = 4

Work = Callable[[], Tensor]
K = TypeVar("K", bound=Hashable)


class Recorder(Protocol):
    """Makes work cheap to launch."""

    def record(self, work: Work) -> Work:
        """`work`, as it is now, with the memory that it reads and writes now. It may run while it is recorded. Raises
        RuntimeError where it can't be recorded."""
        ...


class CudaRecorder:
    """Records CUDA graphs. They share one pool of memory, so a result holds until the next run of any of them."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)

    def record(self, work: Work) -> Work:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            work()  # libraries choose their kernels and take their memory in a run that is not recorded
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU meanwhile: they prepare voices.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            result = work()
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay


class Graphs(Generic[K]):
    """Work by shape. `make(shape)` is what to run for it; `rest` brings the work's inputs to where a run of it changes
    nothing that counts, as recording may run it; `likely` shapes are those that a warm-up records."""

    def __init__(
        self, recorder: Recorder, make: Callable[[K], Work], rest: Callable[[], object], likely: Iterable[K]
    ) -> None:
        self._recorder, self._make, self._rest = recorder, make, rest
        self._likely = tuple(likely)
        self._recorded: dict[K, Work] = {}
        self._uses: Counter[K] = Counter()

    def prepare(self, shape: K) -> Work:
        """What to run for this shape, once its inputs are in place. Before that, as it may bring them to rest."""
        if shape in self._recorded:
            return self._recorded[shape]
        self._uses[shape] += 1
        return self._record(shape) if self._uses[shape] > PATIENCE else self._make(shape)

    def record_likely(self) -> None:
        """For the warm-up."""
        for shape in self._likely:
            if shape not in self._recorded:
                self._record(shape)

    def _record(self, shape: K) -> Work:
        work = self._make(shape)
        self._rest()
        try:
            self._recorded[shape] = self._recorder.record(work)
        except RuntimeError:  # out of memory, too
            logger.exception("%s could not be recorded, and runs kernel by kernel", shape)
            self._recorded[shape] = work
        return self._recorded[shape]


def bucket(count: int, most: int) -> int:
    """The power of two from `count` on, but at most `most`."""
    return min(1 << (count - 1).bit_length(), most)


def buckets(most: int) -> list[int]:
    """All that `bucket` can give."""
    return sorted({bucket(count, most) for count in range(1, most + 1)})
