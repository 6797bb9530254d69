"""Rewrites the table of docs/benchmarks.md from the JSON results, and prints it with its goals.

    python -m bench.summary [--results bench/results] [--page docs/benchmarks.md]

A figure without a result file is omitted. Figures of one machine share a table.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from bench.report import RESULTS, table

BEGIN: Final = "<!-- measured: written by `python -m bench.summary` -->\n"
END: Final = "<!-- /measured -->\n"
HEADS: Final = ("Qwen3-TTS 0.6B, random weights, unless stated otherwise", "", "date", "command")
FRAMES_PER_SECOND: Final = 12.5
Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """`key` in the figures of result `file`. `name` may refer to the forced `frames` and their `seconds`. `must` and
    `aim`: minimum values, or maximum values for costs."""

    name: str
    file: str
    key: str
    show: Callable[[float], str]
    must: float | None = None
    aim: float | None = None
    is_cost: bool = False

    def verdict(self, value: float) -> str:
        for word, goal in (("aim", self.aim), ("must", self.must)):
            if goal is not None and (value <= goal if self.is_cost else value >= goal):
                return word
        return "missed" if self.must is not None else ""


def _times(value: float) -> str:
    return f"{value:.2f} × qwen-tts"


def _real_time(value: float) -> str:
    return f"{value:.1f} × real time"


def _one_in(value: float) -> str:
    return f"1/{1 / value:.0f} of qwen-tts's time to all of it"


def _cost(value: float) -> str:
    return f"{value:.2f} × our own at once"


def _at_once(value: float) -> str:
    return f"{value:.2f} × qwen-tts at once"


def _bytes(value: float) -> str:
    return f"{value:.0f} bytes a frame"


def _ms(value: float) -> str:
    return f"{value:.0f} ms"


def _seconds(value: float) -> str:
    return f"{value:.1f} s"


_GROWTH: Final = "growth_allocated_bytes_per_frame"
_NO_GROWTH: Final = 64  # less than an object a frame: the benchmark stores a time and a figure for each chunk

FIGURES: Final = (
    Figure("codes (no codec), 1 stream", "frame_model", "streams_1", _times, 1.3, 2.5),
    Figure("codes, 8 streams together", "frame_model", "streams_8", _times, 7, 10),
    Figure("codes, 16 streams together", "frame_model", "streams_16", _times, 10, 16),
    Figure("audio, 1 stream", "engine", "streams_1", _times),
    Figure("audio, 8 streams together", "engine", "streams_8", _times, 4, 6),
    Figure("audio, 16 streams together", "engine", "streams_16", _times, 5, 9),
    Figure("codec alone, float32", "codec", "whole", _times, 1.5, 2.5),
    Figure("codec in 1-frame chunks, a frame", "codec", "1_frame_chunks_of_qwen_tts", _at_once),
    Figure("codec in 4-frame chunks, a frame", "codec", "4_frame_chunks_of_qwen_tts", _at_once),
    Figure("codec in 1-frame chunks, a frame", "codec", "cost_1_frame_chunks", _cost, 2.0, 1.3, is_cost=True),
    Figure("codec in 4-frame chunks, a frame", "codec", "cost_4_frame_chunks", _cost, 1.3, 1.05, is_cost=True),
    Figure("first audio, of {seconds:g} s", "latency", "first_audio_share", _one_in, 1 / 40, 1 / 80, is_cost=True),
    Figure("process start to first audio, of {seconds:g} s", "start", "share", _times, 0.5, 0.25, is_cost=True),
    Figure("overhead: audio of a tiny model, 1 stream", "overhead", "streams_1", _times, 4),
    Figure("memory growth, tiny model", "memory_tiny", _GROWTH, _bytes, _NO_GROWTH, is_cost=True),
    Figure("memory growth", "memory", _GROWTH, _bytes, _NO_GROWTH, is_cost=True),
    Figure("whole stack, embedded voice, 64 clients: first audible sample", "side_by_side", "ours_64_ttfa_p50_ms", _ms),
    Figure("a non-streaming server, the same", "side_by_side", "other_64_ttfa_p50_ms", _ms),
    Figure("0.6B, 1 stream", "gpu", "0.6b_streams_1_x_real_time", _real_time, 20),
    Figure("0.6B, 1 stream: first audio", "gpu", "0.6b_streams_1_ttfa_ms", _ms, 20, is_cost=True),
    Figure("1.7B, 32 streams together", "gpu", "1.7b_streams_32_x_real_time", _real_time, 85),
    Figure("1.7B, 32 requests at once: first audio", "gpu", "1.7b_streams_32_ttfa_ms", _ms),
    Figure("1.7B, load", "gpu", "1.7b_load_s", _seconds),
)


@dataclass(frozen=True, slots=True)
class Line:
    """A measured figure."""

    figure: Figure
    value: float
    result: Result

    @property
    def name(self) -> str:
        frames = self.result["settings"].get("frames", 0)  # none if no length was forced
        return self.figure.name.format(frames=frames, seconds=frames / FRAMES_PER_SECOND)

    @property
    def machine(self) -> str:
        machine = self.result["machine"]
        if gpu := machine.get("gpu"):
            return str(gpu)
        return f"{machine['cores']} cores of {machine['processor']} ({machine['instructions']}, no GPU)"

    @property
    def cells(self) -> tuple[str, str, str, str]:
        show, result = self.figure.show, self.result
        return self.name, show(self.value), result["date"][:10], f"`{result['command']}`"


def lines_of(folder: Path) -> Iterator[Line]:
    results: dict[str, Result] = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))
    }
    for figure in FIGURES:
        result = results.get(figure.file, {"figures": {}})
        if figure.key in result["figures"]:
            yield Line(figure, result["figures"][figure.key], result)


def render(folder: Path) -> str:
    """The part between the markers."""
    tables = []
    for machine, group in groupby(sorted(lines_of(folder), key=lambda line: line.machine), lambda line: line.machine):
        tables.append(f"On {machine}:\n\n" + table(HEADS, [line.cells for line in group]) + "\n")
    return "\n".join(tables)


def rewrite(page: Path, part: str) -> None:
    """Raises ValueError if the file lacks the markers."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} lacks the two markers of the measured part")
    page.write_text(before + begin + part + end + after, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument(
        "--page", type=Path, help="default: docs/benchmarks.md for the results in bench/results, else none"
    )
    options = parser.parse_args()
    page = options.page or (Path("docs/benchmarks.md") if options.results == RESULTS else None)
    if page is not None:
        rewrite(page, render(options.results))
    heads = ("figure", "", "reached", "must", "aim")
    rows = [
        (line.name, line.figure.show(line.value), line.figure.verdict(line.value), *_goals(line.figure))
        for line in lines_of(options.results)
    ]
    print(table(heads, rows))


def _goals(figure: Figure) -> tuple[str, str]:
    must, aim = ("" if goal is None else figure.show(goal) if goal else "0" for goal in (figure.must, figure.aim))
    return must, aim


if __name__ == "__main__":
    main()
