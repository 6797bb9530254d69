"""How many rows and KV-cache positions fit into a GPU's memory; a table is in docs/operations.md. No torch."""

import contextlib
import ctypes
from dataclasses import dataclass
from typing import Final

from speech_engines.qwen3_tts.model.config import ModelConfig

MIB: Final = 2**20
MAX_ROWS: Final = 64
# Average positions of a row: prompt and frames, 12.5 for each second of audio.
POSITIONS_PER_ROW: Final = 512
# One utterance may take more: 4,096 characters of text, a minute of reference, ten minutes of audio.
MIN_POSITIONS: Final = 10_000
# CUDA's context, kernel code, and the workspaces of cuBLAS; allocated before any measurement.
CONTEXT_BYTES: Final = 450 * MIB
# A captured graph, besides its working memory: some 2,000 nodes for a frame.
GRAPH_BYTES: Final = 8 * MIB
# The working memory of the largest graph, shared by all.
POOL_BYTES: Final = 256 * MIB
# For prompts that run kernel by kernel, and what the allocator rounds up; if voices are cloned, for the encoders'
# activations, a minute of recording at most, and the prompts that are kept.
HEADROOM_BYTES: Final = 192 * MIB
CLONING_BYTES: Final = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Needs:
    """The needs of one checkpoint on one device, in bytes: of a row, of a position, and constant ones."""

    row: int
    position: int
    headroom: int = HEADROOM_BYTES

    @classmethod
    def from_config(cls, config: ModelConfig, itemsize: int, stream: int, *, clones: bool = False) -> "Needs":
        """`itemsize` is that of activations and caches, `stream` the codec's state of a stream."""
        talker, predictor = config.talker, config.predictor
        frame_cache = predictor.layers * config.codebooks * 2 * predictor.kv_heads * predictor.head_dim * itemsize
        # Logits, the codes that were said, the latest frames, the hidden state.
        state = talker.vocab_size * (4 + 1) + 16 * config.codebooks * 8 + talker.hidden_size * itemsize
        cached = talker.layers * 2 * talker.kv_heads * talker.head_dim * itemsize
        trailing_and_rope = talker.hidden_size * itemsize + talker.head_dim // 2 * 8
        headroom = HEADROOM_BYTES + CLONING_BYTES * clones
        return cls(frame_cache + state + stream, cached + trailing_and_rope, headroom)

    def graphs(self, rows: int) -> int:
        """Recorded for at most `rows` rows: frames of each power of two, half as many of long ones, and eleven of
        other work."""
        powers = rows.bit_length()
        return (powers + (powers + 1) // 2 + 11) * GRAPH_BYTES + POOL_BYTES

    def caches(self, rows: int, positions: int) -> int:
        """Bytes of row state and KV cache for a size."""
        return rows * self.row + positions * self.position

    def parts(self, weights: int, size: "Size") -> dict[str, int]:
        """The memory of a model of that size, by purpose. The headroom is only used temporarily."""
        return {
            "CUDA": CONTEXT_BYTES,
            "weights": weights,
            "rows": size.rows * self.row,
            "positions": size.positions * self.position,
            "graphs": self.graphs(size.rows),
            "headroom": self.headroom,
        }


@dataclass(frozen=True, slots=True)
class Size:
    """A number of rows and of KV-cache positions."""

    rows: int
    positions: int


def trim_heap() -> None:
    """Give freed memory back to the system: packing weights leaves hundreds of megabytes. Other C libraries than glibc
    do so themselves."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def wanted_positions(rows: int) -> int:
    """More positions are not used, however much memory is free: the GPU is shared."""
    return max(rows * POSITIONS_PER_ROW, MIN_POSITIONS)


def fit(needs: Needs, free: int, share: float, rows: int | None = None) -> Size | None:
    """What fits into `free` bytes, which are left beside the weights: `rows`, or as many as fit, a power of
    two. The caches take at most their `share` of what graphs and headroom leave. None if nothing fits."""
    candidates = [rows] if rows else [1 << power for power in range(MAX_ROWS.bit_length())][::-1]
    for count in candidates:
        budget = int(share * (free - needs.graphs(count) - needs.headroom))
        positions = (budget - count * needs.row) // needs.position
        if positions >= (POSITIONS_PER_ROW if rows else count * POSITIONS_PER_ROW):
            return Size(count, min(wanted_positions(count), positions))
    return None
