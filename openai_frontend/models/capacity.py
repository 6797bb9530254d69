"""Limits on loaded models: their number, and their GPU memory."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from speech_protocol.models import SPEECH_BATCH

_GIB: Final = 2**30
# Weights, codec and caches for sixteen requests, assumed until a model has reported its memory.
_USUAL_BYTES: Final = 5 * _GIB
_LARGE_BYTES: Final = 8 * _GIB
_LARGE: Final = "1.7b"


def usual_bytes(checkpoint: str) -> int:
    """Estimated GPU memory of a checkpoint in bytes, by its name; 0 without a checkpoint."""
    if not checkpoint or checkpoint.startswith("hibari"):
        return 0
    return _LARGE_BYTES if _LARGE in checkpoint.lower() else _USUAL_BYTES


@dataclass(frozen=True, slots=True)
class ModelCapacity:
    """`max_models` and `memory_bytes` of 0 are no limit. `size_bytes` returns the GPU memory of a model."""

    max_models: int = 0
    memory_bytes: int = 0
    size_bytes: Callable[[str], int] = lambda _: 0

    @property
    def is_bounded(self) -> bool:
        """Whether there is any limit."""
        return bool(self.max_models or self.memory_bytes)

    def counts(self, name: str) -> bool:
        """False for the façade, which uses no memory."""
        return name != SPEECH_BATCH

    def fits(self, name: str, loaded: Collection[str]) -> bool:
        """Whether `name` may be loaded beside these."""
        if self.max_models and len(loaded) >= self.max_models:
            return False
        # A model on its own always fits; otherwise it could never be loaded.
        total_bytes = self.size_bytes(name) + sum(map(self.size_bytes, loaded))
        return not (self.memory_bytes and loaded and total_bytes > self.memory_bytes)
