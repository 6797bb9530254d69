"""The whole suite: each part in a separate process, then the pictures and the table of docs/benchmarks.md.

    python -m bench [--checkpoint FOLDER] [--tiny FOLDER] [--rounds 5] [--quick] [--only codec engine]

The checkpoints have random weights and never end an utterance by themselves: one full-size, one tiny; a missing one is
created. A part that fails ends the suite; the results of the others are kept. With `--quick`, or another `--results`,
the table is not changed.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.report import RESULTS

QUICK_RESULTS = Path("out/bench")


@dataclass(frozen=True, slots=True)
class Part:
    """A module on one checkpoint. `frames` if they differ from the module's default; `quick_frames` for `--quick`."""

    module: str
    quick_frames: int
    frames: int | None = None
    tiny: bool = False
    stack: bool = False  # a whole stack with the embedded voice, without a checkpoint
    extra: tuple[str, ...] = ()

    def options(self, quick: bool, rounds: int | None) -> list[str]:
        if self.stack:
            return ["--clients", "1,64", "--seconds", "0.5", "--rounds", "1", "--utterances", "3"] if quick else []
        frames = self.quick_frames if quick else self.frames
        words = [*(("--frames", str(frames)) if frames else ()), *self.extra]
        return [*words, *(("--rounds", str(1 if quick else rounds)) if quick or rounds else ())]


SUITE = {
    "codec": Part("codec", quick_frames=24),
    "frame_model": Part("frame_model", quick_frames=8),
    "engine": Part("engine", quick_frames=8),
    "latency": Part("latency", quick_frames=25),
    "start": Part("start", quick_frames=5),
    # One thread on both sides: a second one is slower for tensors of this size.
    "overhead": Part("engine", quick_frames=15, frames=100, tiny=True, extra=("--streams", "1", "--threads", "1")),
    "memory_tiny": Part("memory", quick_frames=60, tiny=True),
    "memory": Part("memory", quick_frames=15, frames=150),
    "side_by_side": Part("side_by_side", quick_frames=0, stack=True),
}


def main() -> None:
    options = parse_options()
    build(options.checkpoint, "full-0.6b")
    build(options.tiny, "tiny-endless")
    for name in options.only:
        part = SUITE[name]
        is_default = name == part.module and options.results == RESULTS
        output = [] if is_default else ["--output", str(options.results / f"{name}.json")]
        checkpoint = [] if part.stack else ["--checkpoint", str(options.tiny if part.tiny else options.checkpoint)]
        run(f"bench.{part.module}", *checkpoint, *part.options(options.quick, options.rounds), *output)
    run("bench.plot", "--results", str(options.results))
    page = ["--page", str(options.page)] if options.page else []
    run("bench.summary", "--results", str(options.results), *page)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=Path("models/stand-in-0.6b"))
    parser.add_argument("--tiny", type=Path, default=Path("models/stand-in-tiny"))
    parser.add_argument("--rounds", type=int, help="of each part; default: the module's")
    parser.add_argument("--quick", action="store_true", help="one round of short utterances, as a quick test")
    parser.add_argument("--only", nargs="+", choices=SUITE, default=list(SUITE))
    parser.add_argument("--results", type=Path, help=f"{RESULTS}, or with --quick {QUICK_RESULTS}")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    options.results = options.results or (QUICK_RESULTS if options.quick else RESULTS)
    return options


def build(folder: Path, size: str) -> None:
    if not (folder / "speech_tokenizer/model.safetensors").exists():
        from tests.support.checkpoints import build_checkpoint

        print(f"building a checkpoint of size {size} in {folder}", flush=True)
        build_checkpoint(folder, "custom_voice", size)


def run(*command: str) -> None:
    print(f"\n== python -m {' '.join(command)}", flush=True)
    subprocess.run([sys.executable, "-m", *command], check=True)


if __name__ == "__main__":
    main()
