"""A GPU that computes nothing: shapes, dtypes and devices of the GPU path are real, so that a machine without one can
check that path, and count its kernel launches."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.support.checkpoints import configs_of, shape_of
from tests.support.tensors import codec_specs, talker_specs

GPU = torch.device("cuda", 0)
# What only describes memory anew, or is taken apart into other operations.
_NO_KERNELS = {
    "alias", "as_strided", "chunk", "detach", "device", "empty", "expand", "expand_as", "flatten", "lift_fresh",
    "new_empty", "permute", "reshape", "select", "slice", "split", "split_with_sizes", "squeeze", "t", "transpose",
    "unbind", "unflatten", "unsqueeze", "view", "view_as_complex", "_unsafe_view",
}  # fmt: skip
_KINDS = {"i": torch.int64, "f": torch.float32, "b": torch.bool}


class _Weights:
    """`safe_open` onto the fake GPU."""

    def __init__(self, path: Path, framework: str, device: str = "cpu") -> None:
        self._file, self._device = safe_open(path, framework, device="cpu"), device

    def __enter__(self) -> Self:
        self._file.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.__exit__(*error)

    def keys(self) -> list[str]:
        return list(self._file.keys())

    def get_tensor(self, name: str) -> Tensor:
        return torch.empty(self._file.get_slice(name).get_shape(), device=self._device)


def _tensor(data: Any, dtype: torch.dtype | None = None, device: Any = "cpu") -> Tensor:
    """`torch.tensor`, which insists on a real GPU."""
    values = np.asarray(data)
    return torch.empty(values.shape, dtype=dtype or _KINDS[values.dtype.kind], device=device)


class _Shapes:
    """`safe_open` of a checkpoint that is not there: tensors of the shapes that one of this size has."""

    def __init__(self, size: str, variant: str) -> None:
        config, codec = configs_of(shape_of(variant, size), variant)
        self._configs, self._specs = (config, codec), (talker_specs(config), codec_specs(codec))

    def write_configs(self, folder: Path) -> None:
        """The folder has the configs and nothing else."""
        for place, config in zip((folder, folder / "speech_tokenizer"), self._configs, strict=True):
            place.mkdir(exist_ok=True)
            (place / "config.json").write_text(json.dumps(config), encoding="utf-8")

    def read_tensors(self, folder: Path, prefix: str, device: Any) -> Iterator[tuple[str, Tensor]]:
        for name, spec in self._specs[folder.name == "speech_tokenizer"].items():
            if name.startswith(prefix):
                yield name, torch.empty(spec.shape, device=device)


@contextmanager
def fake_checkpoint(folder: Path, size: str, variant: str = "custom_voice") -> Iterator[None]:
    """Within, `folder` is a checkpoint of that size on the fake GPU, without a byte of weights."""
    shapes = _Shapes(size, variant)
    shapes.write_configs(folder)
    with pytest.MonkeyPatch.context() as patch, fake_gpu():
        for module in ("model.weights", "codec.decoder"):
            patch.setattr(f"speech_engines.qwen3_tts.{module}.read_tensors", shapes.read_tensors)
        yield


class Memory(TorchDispatchMode):
    """What is held at once of the GPU's memory, in bytes, of all that is made within."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._held: dict[int, tuple[StorageWeakRef, int]] = {}
        self._at_most = 0  # what is held, and perhaps what has been released since it was last looked at

    @property
    def held(self) -> int:
        """Now."""
        self._held = {key: value for key, value in self._held.items() if not value[0].expired()}
        return sum(size for _, size in self._held.values())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        known = {storage._cdata for storage in map(_storage, tree_leaves((args, kwargs))) if storage is not None}
        fresh = {storage._cdata: storage for storage in map(_storage, tree_leaves(result)) if storage is not None}
        for key, storage in fresh.items():
            if key not in known and key not in self._held:
                self._held[key] = (StorageWeakRef(storage), storage.nbytes())
                self._at_most += storage.nbytes()
        if self._at_most > self.peak:
            self._at_most = self.held
            self.peak = max(self.peak, self._at_most)
        return result


def _storage(value: Any) -> torch.UntypedStorage | None:
    on_gpu = isinstance(value, Tensor) and value.device.type == "cuda"
    return value.untyped_storage() if on_gpu else None


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Within, tensors may be put on `GPU`."""
    with pytest.MonkeyPatch.context() as patch, FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
        patch.setattr("speech_engines.qwen3_tts.model.weights.safe_open", _Weights)
        patch.setattr(torch, "tensor", _tensor)
        yield


class Launches(TorchDispatchMode):
    """What a CUDA graph may hold and nothing else, counted: all of it on the GPU, and no look at a value, which the
    fake tensors themselves refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.split("::")[1]
        for value in tree_leaves((args, kwargs, result)):
            if isinstance(value, Tensor) and value.dim():  # a number travels inside a kernel's arguments
                assert value.device == GPU, f"{name} works on {value.device}"
        if name not in _NO_KERNELS and not (name == "to" and result is args[0]):
            self.kernels[name] += 1
        return result

    @property
    def count(self) -> int:
        return sum(self.kernels.values())
