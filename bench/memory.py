"""Memory of the process while an utterance of 2,000 frames is spoken.

    python -m bench.memory --checkpoint FOLDER [--frames 2000]

The first utterance of that length is the warm-up: it touches each page of the buffers that an utterance can reach,
which Linux counts as memory from then on. The others are as long and have other seeds; the growth is the resident set
after the last of them less that before the first, both after a garbage collection and malloc_trim. The resident set at
each chunk, with whatever the allocators hold at that moment, is in the JSON file and in the picture.
"""

import ctypes
import gc
import os
from dataclasses import dataclass, field
from pathlib import Path

from bench.report import parser, table, write
from bench.utterances import TimedSink, begin, finish
from speech_engines.base import Engine, Samples
from speech_engines.qwen3_tts.factory import create_engine
from speech_protocol.models import QWEN3_TTS_CUSTOM_VOICE

# Twice, as 2,000 frames would be a runaway of a shorter text.
TEXT = "The quick brown fox jumps over the lazy dog, and then it does so again and again. " * 2


@dataclass(slots=True)
class WeighingSink(TimedSink):
    """Also keeps the resident bytes at each chunk."""

    resident: list[tuple[int, int]] = field(default_factory=list)  # frames so far, bytes

    def audio(self, samples: Samples) -> None:
        TimedSink.audio(self, samples)
        self.resident.append((self.frames, resident_bytes()))


def main() -> None:
    options = parser(__doc__, "memory", frames=2000, rounds=1)
    options.add_argument("--dtype", default="bfloat16")
    options = options.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    seconds = str(options.frames // 12 + 1)  # at least
    environment = {"MODEL_ID": str(options.checkpoint), "DEVICE": "cpu", "DTYPE": options.dtype}
    engine = create_engine(QWEN3_TTS_CUSTOM_VOICE, {**environment, "MAX_BATCH": "1", "MAX_AUDIO_SECONDS": seconds})
    settled = [settled_bytes()]
    utterances = []
    for seed in range(options.rounds + 1):
        utterances.append(weigh(engine, options.frames, seed))
        settled.append(settled_bytes())
    engine.close()
    after_load, after_warm_up, *_, last = settled
    frames = options.frames * options.rounds
    figures = {
        "growth_bytes": last - after_warm_up,
        "growth_bytes_per_frame": (last - after_warm_up) / frames,
        "warm_up_growth_bytes": after_warm_up - after_load,
    }
    print(table(("frames after the warm-up", *figures), [(frames, *figures.values())]))
    measurements = {"settled_bytes": settled, "warm_up": utterances[0], "resident_bytes_by_frame": utterances[1:]}
    write(options, figures, measurements)


def weigh(engine: Engine, frames: int, seed: int) -> list[tuple[int, int]]:
    sink = WeighingSink()
    begin(engine, frames, seed, TEXT, sink)
    finish([sink], frames)
    return sink.resident


def settled_bytes() -> int:
    """Without what Python and malloc have only not given back yet."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return resident_bytes()


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
