"""The whole suite: each module in a process of its own, then the pictures and the README's table.

    python -m bench --checkpoint FOLDER [--rounds 5] [--only codec engine]

FOLDER is a full-size checkpoint with random weights, which never ends an utterance by itself; `--tiny` is another one.
Both are built where they are missing. A module that fails ends the suite, and leaves the results of the
others as they are.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from bench.report import RESULTS

# Result -> the module that makes it, on which checkpoint, with which options beyond its defaults.
SUITE: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "codec": ("codec", "full", ()),
    "frame_model": ("frame_model", "full", ()),
    "engine": ("engine", "full", ()),
    "latency": ("latency", "full", ()),
    "start": ("start", "full", ()),
    "overhead": ("engine", "tiny", ("--streams", "1", "--frames", "100")),
    "memory_tiny": ("memory", "tiny", ("--rounds", "1")),
    "memory": ("memory", "full", ("--rounds", "1", "--frames", "300")),
}


def main() -> None:
    options = parse_options()
    folders = {"full": options.checkpoint, "tiny": options.tiny}
    build(options.checkpoint, "full-0.6b")
    build(options.tiny, "tiny-endless")
    for name in options.only:
        module, size, extra = SUITE[name]
        rounds = ("--rounds", str(options.rounds)) if options.rounds and "--rounds" not in extra else ()
        output = ("--output", str(options.results / f"{name}.json"))
        run(f"bench.{module}", "--checkpoint", str(folders[size]), *extra, *rounds, *output)
    run("bench.plot", "--results", str(options.results))
    run("bench.summary", "--results", str(options.results), "--readme", str(options.readme))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=Path("models/stand-in-0.6b"))
    parser.add_argument("--tiny", type=Path, default=Path("models/stand-in-tiny"))
    parser.add_argument("--rounds", type=int, help="of each module, where it is not its default")
    parser.add_argument("--only", nargs="+", choices=SUITE, default=list(SUITE))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    return parser.parse_args()


def build(folder: Path, size: str) -> None:
    if not (folder / "speech_tokenizer/model.safetensors").exists():
        from tests.support.checkpoints import build_checkpoint

        build_checkpoint(folder, "custom_voice", size)


def run(*command: str) -> None:
    print(f"\n== python -m {' '.join(command)}", flush=True)
    subprocess.run([sys.executable, "-m", *command], check=True)


if __name__ == "__main__":
    main()
