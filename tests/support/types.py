"""Types of fixtures."""

from collections.abc import Callable
from pathlib import Path

# `tiny_checkpoint(variant, projection=False)`
CheckpointOf = Callable[..., Path]
