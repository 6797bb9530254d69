"""The whole suite: each part in a separate process, then the pictures and the table of docs/benchmarks.md.

    python -m bench [--checkpoint FOLDER] [--tiny FOLDER] [--rounds 5] [--quick] [--only codec engine]

The checkpoints have random weights and never end an utterance by themselves: one full-size, one tiny; a missing one is
created. A part that fails ends the suite; the results of the others are kept. With `--quick`, or another `--results`,
the table is not changed. `--quick` is one short round of each part, in one process, which imports torch and qwen-tts
only once.
"""

import argparse
import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.report import RESULTS

QUICK_RESULTS = Path("out/bench")


@dataclass(frozen=True, slots=True)
class Part:
    """A module on one checkpoint. `full` are its options without `--quick`, `quick` those with it, `both` in both."""

    module: str
    full: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    both: tuple[str, ...] = ()
    tiny: bool = False
    stack: bool = False  # a whole stack with the embedded voice, without a checkpoint

    def options(self, quick: bool, rounds: int | None) -> list[str]:
        if quick:
            return [*self.both, *self.quick, "--rounds", "1"]
        return [*self.both, *self.full, *(("--rounds", str(rounds)) if rounds and not self.stack else ())]


def frames(count: int) -> tuple[str, ...]:
    return ("--frames", str(count))


SUITE = {
    "codec": Part("codec", quick=frames(24)),
    "frame_model": Part("frame_model", quick=frames(8)),
    "engine": Part("engine", quick=frames(8)),
    "latency": Part("latency", quick=frames(25)),
    "start": Part("start", quick=(*frames(5), "--warm-up", "0")),
    # One thread on both sides: a second one is slower for tensors of this size.
    "overhead": Part("engine", frames(100), frames(15), both=("--streams", "1", "--threads", "1"), tiny=True),
    "memory_tiny": Part("memory", quick=(*frames(60), "--warm-up", "1"), tiny=True),
    "memory": Part("memory", frames(150), quick=(*frames(15), "--warm-up", "1")),
    "side_by_side": Part(
        "side_by_side",
        quick=("--clients", "1,64", "--seconds", "0.5", "--utterances", "3", "--texts", "short"),
        stack=True,
    ),
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
        arguments = [*checkpoint, *part.options(options.quick, options.rounds), *output]
        run(f"bench.{part.module}", arguments, here=options.quick)
    run("bench.plot", ["--results", str(options.results)], here=options.quick)
    page = ["--page", str(options.page)] if options.page else []
    run("bench.summary", ["--results", str(options.results), *page], here=options.quick)


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


def run(module: str, arguments: list[str], here: bool) -> None:
    """Run a module in a new process, or, with `here`, in this one."""
    print(f"\n== python -m {' '.join((module, *arguments))}", flush=True)
    if here:
        sys.argv[1:] = arguments
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        subprocess.run([sys.executable, "-m", module, *arguments], check=True)


if __name__ == "__main__":
    main()
