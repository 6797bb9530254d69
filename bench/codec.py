"""How fast codes become samples, beside qwen-tts's decoder on the same weights in the same run.

    python -m bench.codec [--frames 100] [--threads 2] [--checkpoint FOLDER]

Without a checkpoint in FOLDER, the codec of a full-size one with random weights is written there. A round measures each
way once, and the figure is the median of the rounds. Streaming with qwen-tts's decoder means to decode 25 frames of
context again with each chunk; a few such chunks are enough to time.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speech_engines.qwen3_tts.codec import Codec

FRAME_MS = 80.0
CONTEXT_FRAMES = 25
CONTEXT_CHUNK_FRAMES = 4
CONTEXT_CHUNKS = 3
STREAMS = 8
Way = tuple[int, Callable[[], object]]  # frames that one call decodes, all streams together


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    if not (options.checkpoint / "speech_tokenizer/model.safetensors").exists():
        write_codec(options.checkpoint)
    codes = torch.randint(0, 2048, (STREAMS, options.frames, 16), generator=torch.Generator().manual_seed(0))
    codes = codes.to(options.device)
    codec = Codec.load(options.checkpoint, torch.device(options.device), STREAMS)
    ways = our_ways(codec, codes) | upstream_ways(load_upstream(options.checkpoint, options.device), codes[:1])
    milliseconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(-1, options.rounds):
        for name, way in ways.items():
            figure = measure_ms(way, options.device)
            if round_number >= 0:  # the first is the warm-up
                milliseconds[name].append(figure)
    report(milliseconds, options)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=Path("out/codec-checkpoint"))
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=Path("bench/results/codec.json"))
    return parser.parse_args()


def write_codec(folder: Path) -> None:
    """The codec alone of what `tests.support.checkpoints` makes: the rest of a checkpoint takes longer."""
    from tests.support import checkpoints

    config = checkpoints._codec_config(checkpoints.shape_of("custom_voice", "full-0.6b"))
    codec = folder / "speech_tokenizer"
    codec.mkdir(parents=True, exist_ok=True)
    checkpoints._write_json(codec / "config.json", config)
    checkpoints._write_tensors(codec / "model.safetensors", checkpoints._codec_tensors(config, seed=0))


def our_ways(codec: Codec, codes: Tensor) -> dict[str, Way]:
    frames = codes.shape[1]

    def in_chunks(codes: Tensor, size: int) -> None:
        slots = range(len(codes))  # as the engine names them
        for stream in range(len(codes)):
            codec.reset(stream)
        for chunk in codes.split(size, 1):
            codec.decode(slots, chunk)

    ways: dict[str, Way] = {"whole": (frames, lambda: codec.decode_whole(codes[:1]))}
    for size in (1, 2, 4, 12):
        ways[f"{size}-frame chunks"] = (frames, lambda size=size: in_chunks(codes[:1], size))
    few = max(1, frames // STREAMS)
    ways[f"1-frame chunks, {STREAMS} streams"] = (few * STREAMS, lambda: in_chunks(codes[:, :few], 1))
    return ways


def load_upstream(folder: Path, device: str) -> Any:
    from qwen_tts.core import Qwen3TTSTokenizerV2Model

    return Qwen3TTSTokenizerV2Model.from_pretrained(folder / "speech_tokenizer", dtype=torch.float32).decoder.to(device)


def upstream_ways(decoder: Any, codes: Tensor) -> dict[str, Way]:
    by_codebook = codes.transpose(1, 2)  # [1, 16, T]
    window = by_codebook[..., : CONTEXT_FRAMES + CONTEXT_CHUNK_FRAMES]

    @torch.inference_mode()
    def whole() -> None:
        decoder(by_codebook)

    @torch.inference_mode()
    def with_context() -> None:
        for _ in range(CONTEXT_CHUNKS):
            decoder(window)

    chunks = f"qwen-tts, {CONTEXT_CHUNK_FRAMES}-frame chunks"
    return {
        "qwen-tts, whole": (codes.shape[1], whole),
        chunks: (CONTEXT_CHUNKS * CONTEXT_CHUNK_FRAMES, with_context),
    }


def measure_ms(way: Way, device: str) -> float:
    """Milliseconds a frame."""
    frames, run = way
    start_s = time.perf_counter()
    run()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start_s) / frames * 1e3


def report(milliseconds: dict[str, list[float]], options: argparse.Namespace) -> None:
    medians = {name: statistics.median(figures) for name, figures in milliseconds.items()}
    print(f"{'':28} {'ms/frame':>9} {'x real time':>12} {'/ whole':>8} {'qwen-tts /':>11}")
    for name, median_ms in medians.items():
        upstream = medians["qwen-tts, whole"] / median_ms
        print(f"{name:28} {median_ms:9.2f} {FRAME_MS / median_ms:12.2f}", end="")
        print(f" {median_ms / medians['whole']:8.2f} {upstream:11.2f}")
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": processor(), "cores": os.cpu_count(), "system": platform.system()},
        "versions": {name: version(name) for name in ("torch", "qwen-tts")} | {"python": platform.python_version()},
        "settings": {name: getattr(options, name) for name in ("frames", "rounds", "threads", "device")},
        "ms_per_frame": {name: {"median": medians[name], "all": figures} for name, figures in milliseconds.items()},
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def processor() -> str:
    """Its name where Linux tells it, else its architecture; and the vector instructions that torch uses."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{(names or [platform.machine()])[0]}, {torch.backends.cpu.get_cpu_capability()}"


if __name__ == "__main__":
    main()
