"""Memory of the process during an utterance of 2,000 frames.

    python -m bench.memory --checkpoint FOLDER [--frames 2000] [--rounds 1] [--warm-up 3]

The first utterances of that length are the warm-up: they touch each page of the buffers that an utterance can reach,
and malloc finds a layout, which takes it two or three. The others are as long and have other seeds; the growth is what
the process holds after the last of them less that before the first, both after a garbage collection and malloc_trim:

- `growth_bytes`, the resident memory that only this process has (RssAnon), so heaps and buffers;
- `growth_allocated_bytes` and `growth_python_blocks`, what malloc and Python have given out: a leak of tensors or of
  objects is in here; what the allocators keep free is not, but for some KiB that each thread keeps at hand;
- `growth_file_bytes`, pages of the checkpoint's file, each read when a code first needs it. They are the page cache's,
  bounded by the file, and Linux takes them back when it likes.

All of them after each utterance, and the resident set at each chunk, with whatever the allocators hold at that moment,
are in the JSON file.
"""

import ctypes
import gc
import os
import sys
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.report import parser, table, write
from bench.utterances import TimedSink, begin, finish
from speech_engines.base import Engine, Samples
from speech_engines.qwen3_tts.factory import create_engine
from speech_protocol.events import Word
from speech_protocol.models import QWEN3_TTS_CUSTOM_VOICE

# Twice, as the runaway guard would stop a shorter text before 2,000 frames.
TEXT = "The quick brown fox jumps over the lazy dog, and then it does so again and again. " * 2


@dataclass(slots=True)
class WeighingSink(TimedSink):
    """Also keeps the resident bytes at each chunk, using little memory itself."""

    resident: "array[int]" = field(default_factory=lambda: array("q"))  # frames so far, bytes, and so on

    def audio(self, samples: Samples, words: Sequence[Word] = ()) -> None:
        TimedSink.audio(self, samples)
        self.resident.extend((self.frames, resident_bytes()))


# fmt: off
_MALLOC_FIELDS = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
)
# fmt: on


class _MallocInfo(ctypes.Structure):
    """`struct mallinfo2` of glibc, of all arenas."""

    _fields_ = [(name, ctypes.c_size_t) for name in _MALLOC_FIELDS]


@dataclass(frozen=True, slots=True)
class Settled:
    """Bytes that the process uses, without what Python and malloc have merely not released yet."""

    anonymous: int
    allocated: int
    python_blocks: int  # a number, of about an object each
    file: int

    @classmethod
    def now(cls) -> "Settled":
        gc.collect()
        libc = ctypes.CDLL(None)
        libc.malloc_trim(0)
        libc.mallinfo2.restype = _MallocInfo
        malloc = libc.mallinfo2()
        allocated = malloc.uordblks + malloc.hblkhd
        lines = (line.split() for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
        kib = {words[0]: int(words[1]) for words in lines if words and words[0].startswith("Rss")}
        return cls(kib["RssAnon:"] * 1024, allocated, sys.getallocatedblocks(), kib["RssFile:"] * 1024)


def main() -> None:
    options = parser(__doc__, "memory", frames=2000, rounds=1)
    options.add_argument("--warm-up", type=int, default=3, help="warm-up utterances, not measured")
    options.add_argument("--dtype", default="bfloat16")
    options = options.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    seconds = str(options.frames // 12 + 1)  # at least
    environment = {"MODEL_ID": str(options.checkpoint), "DEVICE": "cpu", "DTYPE": options.dtype, "RUNAWAY_GUARD": "off"}
    engine = create_engine(QWEN3_TTS_CUSTOM_VOICE, {**environment, "MAX_BATCH": "1", "MAX_AUDIO_SECONDS": seconds})
    settled = [Settled.now()]
    utterances = []
    for seed in range(options.warm_up + options.rounds):
        utterances.append(weigh(engine, options.frames, seed))
        settled.append(Settled.now())
    engine.close()
    after_load, after_warm_up, last = settled[0], settled[options.warm_up], settled[-1]
    frames = options.frames * options.rounds
    stats = {
        "growth_bytes": last.anonymous - after_warm_up.anonymous,
        "growth_bytes_per_frame": (last.anonymous - after_warm_up.anonymous) / frames,
        "growth_allocated_bytes": last.allocated - after_warm_up.allocated,
        "growth_allocated_bytes_per_frame": (last.allocated - after_warm_up.allocated) / frames,
        "growth_python_blocks": last.python_blocks - after_warm_up.python_blocks,
        "growth_file_bytes": last.file - after_warm_up.file,
        "warm_up_growth_bytes": after_warm_up.anonymous - after_load.anonymous,
    }
    print(table(("frames after the warm-up", *stats), [(frames, *stats.values())]))
    runs = [list(zip(run[::2], run[1::2], strict=True)) for run in utterances]
    measurements = {
        "settled_bytes": [asdict(each) for each in settled],
        "warm_up": runs[0],
        "resident_bytes_by_frame": runs[1:],
    }
    write(options, stats, measurements)


def weigh(engine: Engine, frames: int, seed: int) -> "array[int]":
    sink = WeighingSink()
    begin(engine, frames, seed, TEXT, sink)
    finish([sink], frames)
    return sink.resident


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
