"""Plots the results: a PNG beside each JSON file that has a plot.

python -m bench.plot [--results bench/results]
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report import RESULTS

OURS, THEIRS = "#1f77b4", "#999999"
FRAMES_PER_SECOND: Final = 12.5
Result = dict[str, Any]


def rates(axes: Axes, result: Result, what: str) -> None:
    """Frames a second by streams, compared with qwen-tts."""
    by_side = result["measurements"]["frames_per_s"]
    baseline = by_side["qwen-tts"]
    ours = {name: rate for name, rate in by_side.items() if name != "qwen-tts"}
    names = ["qwen-tts\none after another", *(f"{name} stream{'s' * (name != '1')}" for name in ours)]
    bars = axes.bar(names, [baseline, *ours.values()], color=[THEIRS, *([OURS] * len(ours))])
    labels = [f"{rate:.1f}\n{rate / baseline:.1f} ×" for rate in (baseline, *ours.values())]
    axes.bar_label(bars, labels)
    axes.axhline(FRAMES_PER_SECOND, color="black", linewidth=0.8, linestyle=":", label="real time of one stream")
    axes.legend(frameon=False, loc="upper left")
    axes.margins(y=0.25)
    axes.set_ylabel("frames/s, all streams together")
    axes.set_title(what)


def frame_model(axes: Axes, result: Result) -> None:
    rates(axes, result, "Codes: talker and code predictor, without codec")


def engine(axes: Axes, result: Result) -> None:
    rates(axes, result, "Audio: the whole engine")


def overhead(axes: Axes, result: Result) -> None:
    rates(axes, result, "Overhead: a tiny model, whose arithmetic costs next to nothing")


def codec(axes: Axes, result: Result) -> None:
    """Milliseconds for each frame by chunk size."""
    median_ms = result["measurements"]["median_ms_per_frame"]
    colors = [THEIRS if name.startswith("qwen-tts") else OURS for name in median_ms]
    bars = axes.barh(list(median_ms), list(median_ms.values()), color=colors)
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("ms a frame (a frame is 80 ms of audio)")
    axes.set_title("Codec: cost of a frame by chunk size")


def latency(axes: Axes, result: Result) -> None:
    figures, all_s = result["figures"], result["measurements"]["qwen_tts_all_audio_s"]
    bars = axes.barh(["first audio", "qwen-tts, all audio"], [figures["first_audio_s"], all_s], color=[OURS, THEIRS])
    axes.bar_label(bars, fmt="%.2f s", padding=3)
    axes.margins(x=0.15)
    axes.set_xlabel("seconds from the request")
    axes.set_title(f"An utterance of {result['settings']['frames']} frames")


def start(axes: Axes, result: Result) -> None:
    figures = result["figures"]
    bars = axes.barh(
        ["ours, first audio", "qwen-tts, its audio"], [figures["ours_s"], figures["qwen_tts_s"]], color=[OURS, THEIRS]
    )
    axes.bar_label(bars, fmt="%.1f s", padding=3)
    axes.margins(x=0.15)
    axes.set_xlabel("seconds from the start of the process")
    axes.set_title(f"Start, weights in the page cache, an utterance of {result['settings']['frames']} frames")


def memory(axes: Axes, result: Result) -> None:
    measurements = result["measurements"]
    runs = {"warm-up": measurements["warm_up"]}
    runs |= {f"utterance {n}": run for n, run in enumerate(measurements["resident_bytes_by_frame"], 2)}
    for name, run in runs.items():
        frames, resident = zip(*run, strict=True)
        axes.plot(frames, [size / 2**20 for size in resident], label=name, color=THEIRS if name == "warm-up" else None)
    axes.set_ylim(0, 1.2 * max(size for run in runs.values() for _, size in run) / 2**20)
    axes.legend(frameon=False, loc="lower right")
    axes.set_xlabel("frames")
    axes.set_ylabel("resident MiB")
    axes.set_title("Memory of the process")


def gpu(axes: Axes, result: Result) -> None:
    """× real time and first audio by streams, one line for each size."""
    first_audio = axes.twinx()
    for number, (size, parts) in enumerate(result["measurements"].items()):
        rows = parts.get("streams", [])
        streams, color = [str(row["streams"]) for row in rows], f"C{number}"
        axes.plot(streams, [row["x_real_time"] for row in rows], color=color, marker="o", label=f"{size}, × real time")
        ttfa_ms = [row["ttfa_p50_ms"] for row in rows]
        first_audio.plot(streams, ttfa_ms, color=color, marker="s", linestyle=":", label=f"{size}, first audio")
    for each in (axes, first_audio):
        each.set_ylim(bottom=0)
    axes.set_xlabel("streams at once")
    axes.set_ylabel("× real time, all streams together")
    first_audio.set_ylabel("ms to first audio, median")
    lines = [*axes.get_lines(), *first_audio.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines], frameon=False)
    axes.set_title(result["machine"].get("gpu", "CPU"))


PICTURES: Final[dict[str, Callable[[Axes, Result], None]]] = {
    "frame_model": frame_model, "engine": engine, "overhead": overhead, "codec": codec, "latency": latency,
    "start": start, "memory": memory, "memory_tiny": memory, "gpu": gpu,
}  # fmt: skip


def draw(path: Path) -> Path:
    """Plot one result beside its file."""
    result = json.loads(path.read_text(encoding="utf-8"))
    figure = Figure(figsize=(8, 4.5), layout="constrained")  # without pyplot: draws with Agg, needs no display
    axes = figure.subplots()
    PICTURES[path.stem](axes, result)
    axes.spines[["top", "right"]].set_visible(False)
    machine = result["machine"].get("gpu") or f"{result['machine']['cores']} cores, {result['machine']['instructions']}"
    figure.supxlabel(f"{machine}, {result['date'][:10]}, {result['command']}", fontsize=7, color="#666666")
    picture = path.with_suffix(".png")
    figure.savefig(picture, dpi=120, metadata={"Software": None})
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    for path in sorted(parser.parse_args().results.glob("*.json")):
        if path.stem in PICTURES:
            print(draw(path))


if __name__ == "__main__":
    main()
