"""A Recorder for a CPU with the semantics of a CUDA graph: it replays the same operations on the same memory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Step = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]


class TapeRecorder:
    """Counts what it recorded; fails on demand, or records what gives other numbers: all plus `wrong_by`."""

    def __init__(self, fails: bool = False, wrong_by: float = 0.0) -> None:
        self.recordings = 0
        self._fails, self._wrong_by = fails, wrong_by

    def run(self, work: Callable[[], Tensor]) -> Tensor:
        return work()

    def record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        if self._fails:
            raise RuntimeError("capture failed")
        self.recordings += 1
        tape = _Tape()
        with tape:
            result = work()

        @torch.inference_mode()
        def replay() -> Tensor:
            for function, arguments, keywords, output in tape.steps:
                for old, new in zip(tree_leaves(output), tree_leaves(function(*arguments, **keywords)), strict=True):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)
            return result + self._wrong_by if self._wrong_by else result

        return replay


class _Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # A look at a tensor's value would make the recording one of this moment only.
        assert func is not torch.ops.aten._local_scalar_dense.default, "a value was read from the device"
        # A scalar travels inside a kernel's arguments; more would be a copy from memory that is gone by then.
        assert func is not torch.ops.aten.lift_fresh.default or not args[0].dim(), "values were brought to the device"
        output = func(*args, **(kwargs or {}))
        self.steps.append((func, args, kwargs or {}, output))
        return output
