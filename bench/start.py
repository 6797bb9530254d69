"""From the start of a process to its first audio, compared with qwen-tts.

    python -m bench.start --checkpoint FOLDER [--frames 25] [--rounds 5] [--warm-up 1]

Both synthesize one utterance of the same forced length, two seconds. Timed in the parent: from the start of the child
to the line that it writes with the first samples, which with qwen-tts are all samples. The warm-up round reads the
weights into the page cache. The engine has one slot, like qwen-tts, which is used as documented, without our code
around it.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.report import parser, table, write
from bench.rounds import in_turns, medians

CHILD_TIMEOUT_S = 600
SIDES = ("ours", "qwen-tts")


def main() -> None:
    options = parser(__doc__, "start", frames=25, threads=False)
    options.add_argument("--warm-up", type=int, default=1, help="rounds before the measured ones")
    options.add_argument("--dtype", default="bfloat16")
    options = options.parse_args()
    parts: dict[str, list[Any]] = {side: [] for side in SIDES}

    def start(side: str) -> float:
        begin_s = time.perf_counter()
        heard_s, inside = start_child(side, options.checkpoint, options.frames, options.dtype)
        parts[side].append(inside)
        return heard_s - begin_s

    sides: dict[str, Callable[[], float]] = {side: lambda side=side: start(side) for side in SIDES}  # type: ignore[misc]
    seconds = in_turns(sides, options.rounds, options.warm_up)
    ours_s, theirs_s = medians(seconds).values()
    print(table(("", "seconds", "of qwen-tts"), [("ours", ours_s, ours_s / theirs_s), ("qwen-tts", theirs_s, 1.0)]))
    figures = {"ours_s": ours_s, "qwen_tts_s": theirs_s, "share": ours_s / theirs_s}
    write(
        options,
        figures,
        {"seconds": seconds, "inside_s": {side: all_[options.warm_up :] for side, all_ in parts.items()}},
    )


def start_child(side: str, checkpoint: Path, frames: int, dtype: str) -> tuple[float, dict[str, float]]:
    """The time of the first audio by this process's clock, and the child's own timings in seconds."""
    arguments = [side, str(checkpoint), str(frames), dtype]
    with subprocess.Popen(
        [sys.executable, "-m", "bench.start_child", *arguments], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith("{"):
                heard_s = time.perf_counter()
                child.wait(CHILD_TIMEOUT_S)
                return heard_s, json.loads(line)
    raise RuntimeError(f"the process of {side} ended without audio, with exit code {child.returncode}")


if __name__ == "__main__":
    main()
