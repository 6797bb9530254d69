"""How fast talker and code predictor make frames, beside qwen-tts on the same weights in the same run.

    python -m bench.frame_model --checkpoint FOLDER [--frames 25] [--rows 1 8 16]

Both sides get the same prompt, sample with the checkpoint's settings and are forced to the same number of frames. The
clock runs from the end of the prefill to the last code; the codec is left out. A round measures each side once, and
the figure is the median of the rounds. For a checkpoint without real weights, see tests/support/checkpoints.py.
"""

import argparse
import json
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

from speech_engines.qwen3_tts.frame_model import FrameModel, Sampling

FRAMES_PER_SECOND = 12.5
PROMPT_POSITIONS = 24
TRAILING_FRAMES = 16
Measure = Callable[[], float]  # -> seconds


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    prompt = random_prompt(options.checkpoint)
    ours = load_ours(options)
    sides: dict[str, tuple[int, Measure]] = {
        f"{rows} rows": (rows, lambda rows=rows: time_ours(ours, rows, prompt, options.frames)) for rows in options.rows
    }
    for dtype in options.upstream_dtypes:
        talker = load_upstream(options.checkpoint, options.device, dtype)
        name = f"qwen-tts {dtype}"
        sides[name] = (1, lambda talker=talker: time_upstream(talker, prompt, options.frames))
    for _, measure in sides.values():
        measure()  # warm-up
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, (_, measure) in sides.items():
            seconds[name].append(measure())
    results = [summarize(name, rows, options.frames, seconds[name]) for name, (rows, _) in sides.items()]
    report(results, options)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="bfloat16", help="of the weights; a CPU computes in float32")
    parser.add_argument("--upstream-dtypes", nargs="*", default=["bfloat16"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=Path("bench/results/frame_model.json"))
    return parser.parse_args()


def random_prompt(folder: Path) -> tuple[Tensor, Tensor]:
    """embeds [T, H] and trailing [N, H]"""
    hidden = json.loads((folder / "config.json").read_text(encoding="utf-8"))["talker_config"]["hidden_size"]
    generator = torch.Generator().manual_seed(0)
    positions = (PROMPT_POSITIONS, TRAILING_FRAMES)
    return torch.randn(sum(positions), hidden, generator=generator).split(positions)  # type: ignore[return-value]


# Ours


def load_ours(options: argparse.Namespace) -> FrameModel:
    dtype, positions = getattr(torch, options.dtype), PROMPT_POSITIONS + options.frames
    return FrameModel.load(options.checkpoint, options.device, dtype, max(options.rows), positions)


def time_ours(model: FrameModel, rows: int, prompt: tuple[Tensor, Tensor], frames: int) -> float:
    embeds, trailing = (tensor.to(model.device) for tensor in prompt)
    for slot in range(rows):
        sampling = Sampling(0.9, 50, 1.0, 1.05, False, 0.9, 50, 1.0, False, seed=slot, min_frames=frames + 1)
        model.prefill(slot, embeds, trailing[: frames - 1], sampling)
    synchronize(model.device)
    start_s = time.perf_counter()
    for _ in range(frames):
        codes, _ = model.step(range(rows))
    codes.cpu()
    return time.perf_counter() - start_s


# qwen-tts


def load_upstream(folder: Path, device: str, dtype: str) -> Any:
    from qwen_tts import Qwen3TTSModel

    upstream = Qwen3TTSModel.from_pretrained(
        str(folder), dtype=getattr(torch, dtype), device_map=device, attn_implementation="sdpa"
    )
    talker = upstream.model.eval().talker
    talker.generation_config.pad_token_id = talker.config.codec_eos_token_id
    return talker


def time_upstream(talker: Any, prompt: tuple[Tensor, Tensor], frames: int) -> float:
    """As `Qwen3TTSForConditionalGeneration.generate` calls it, but for the forced length."""
    eos, vocab = talker.config.codec_eos_token_id, talker.config.vocab_size
    embeds, trailing = (tensor[None].to(talker.device, talker.dtype) for tensor in prompt)
    done_s: list[float] = []  # the head runs once after the prefill and once after each frame

    def note(*_: object) -> None:
        synchronize(talker.device)
        done_s.append(time.perf_counter())

    handle = talker.codec_head.register_forward_hook(note)
    try:
        talker.generate(
            inputs_embeds=embeds, attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=talker.device),
            trailing_text_hidden=trailing, tts_pad_embed=trailing[:, -1:], eos_token_id=eos,
            min_new_tokens=frames + 1, max_new_tokens=frames + 1, do_sample=True, top_k=50, top_p=1.0, temperature=0.9,
            subtalker_dosample=True, subtalker_top_k=50, subtalker_top_p=1.0, subtalker_temperature=0.9,
            repetition_penalty=1.05, suppress_tokens=[i for i in range(vocab - 1024, vocab) if i != eos],
            output_hidden_states=True, return_dict_in_generate=True,
        )  # fmt: skip
    finally:
        handle.remove()
    if len(done_s) != frames + 1:
        raise RuntimeError(f"qwen-tts made {len(done_s) - 1} frames, not {frames}")
    return done_s[-1] - done_s[0]


# Both


def synchronize(device: torch.device | str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def summarize(name: str, rows: int, frames: int, seconds: list[float]) -> dict[str, Any]:
    median_s = statistics.median(seconds)
    return {
        "name": name,
        "rows": rows,
        "seconds": seconds,
        "step_ms": 1e3 * median_s / frames,
        "frames_per_s": rows * frames / median_s,
        "times_real_time": rows * frames / median_s / FRAMES_PER_SECOND,
    }


def report(results: list[dict[str, Any]], options: argparse.Namespace) -> None:
    baselines = [result for result in results if result["name"].startswith("qwen-tts")]
    for result in results:
        rate = result["frames_per_s"]
        result["ratios"] = {baseline["name"]: rate / baseline["frames_per_s"] for baseline in baselines}
    heads = ["", "ms a step", "frames/s", "x real time", *(f"/ {baseline['name']}" for baseline in baselines)]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for result in results:
        figures = [result["step_ms"], result["frames_per_s"], result["times_real_time"], *result["ratios"].values()]
        print(f"| {result['name']} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(describe(options) | {"results": results}, indent=2) + "\n", encoding="utf-8")


def describe(options: argparse.Namespace) -> dict[str, Any]:
    settings = {name: value for name, value in vars(options).items() if name not in ("checkpoint", "output")}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(options.device),
        "versions": {name: version(name) for name in ("torch", "transformers", "qwen-tts")},
        "settings": settings,
    }


def describe_machine(device: str) -> dict[str, Any]:
    """Without its name."""
    machine = {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }
    return machine | ({"gpu": torch.cuda.get_device_name(device)} if torch.device(device).type == "cuda" else {})


if __name__ == "__main__":
    main()
