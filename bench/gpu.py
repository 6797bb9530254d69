"""The engine on a GPU: throughput, first audio, load, memory and cancellation, by streams and model size.

    python -m bench.gpu [--quick] [--sizes 0.6b 1.7b] [--streams 1 4 8 16 32 64] [--frames 125] [--device cuda]

Needs torch, safetensors and tokenizers, and neither a network nor Triton. It creates full-size checkpoints with random
weights under `--checkpoints`, and measures through the Engine protocol with utterances of a forced length: that many
requests at once, from the first request to the last sample; TTFA is from the request to the first samples at the sink,
and a step is the time between two chunks divided by the frames in the second. qwen-tts is measured, too, if it is
installed. The result is written after each part, so that an aborted run keeps its results.
"""

import argparse
import gc
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.report import RESULTS, table, write
from bench.utterances import FRAMES_PER_SECOND, TimedSink, begin, finish, hang_up, speak_s
from speech_engines.base import Engine
from speech_engines.qwen3_tts.factory import create_engine
from speech_protocol.audio import FRAME_SAMPLES
from speech_protocol.errors import SpeechError
from speech_protocol.models import QWEN3_TTS_CUSTOM_VOICE

SIZES: Final = {"0.6b": "full-0.6b", "1.7b": "full-1.7b", "tiny": "tiny-endless"}
HEADS: Final = (
    "size", "streams", "x real time", "TTFA p50 ms", "TTFA p95 ms", "step p50 ms", "step p95 ms", "late chunks",
)  # fmt: skip
# Multiples of `--frames`: utterances that keep running while something else is measured.
LONG: Final = 4
Row = dict[str, float]


@dataclass(slots=True)
class Run:
    """One model size: its results so far, and how to store them."""

    size: str
    options: argparse.Namespace
    keep: Callable[[], None]
    parts: dict[str, Any] = field(default_factory=dict)

    def found(self, **values: object) -> None:
        self.parts |= values
        self.keep()

    def environment(self, **settings: str) -> dict[str, str]:
        options = self.options
        return {
            "MODEL_ID": str(options.checkpoints / f"stand-in-{self.size}"),
            "RUNAWAY_GUARD": "off",  # random weights produce only hiss
            "DEVICE": options.device,
            "DTYPE": options.dtype,
            "MAX_BATCH": str(max(options.streams)),
            "MAX_QUEUE": str(2 * max(options.streams)),
            # Capacity for the longest utterance here and no more: 64 slots of ten minutes would not fit.
            "MAX_AUDIO_SECONDS": str(LONG * options.frames / FRAMES_PER_SECOND),
            **settings,
        }


def main() -> None:
    options = parse_options()
    measurements: dict[str, dict[str, Any]] = {}
    for size in options.sizes:
        run = Run(size, options, lambda: keep(options, measurements))
        measurements[size] = run.parts
        try:
            build(run)
            measure(run)
        except (SpeechError, RuntimeError, TimeoutError) as error:  # the other sizes are still measured
            run.found(failure=f"{type(error).__name__}: {error}")
    print(overview(measurements))
    if failures := {size: parts["failure"] for size, parts in measurements.items() if "failure" in parts}:
        raise SystemExit(f"failed: {failures}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["0.6b", "1.7b"])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 8, 16, 32, 64])
    parser.add_argument("--frames", type=int, default=125, help="forced length of an utterance; 12.5 a second")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two rounds, at 1, 8 and 32 streams")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--checkpoints", type=Path, default=Path("models"))
    parser.add_argument("--output", type=Path, default=RESULTS / "gpu.json")
    options = parser.parse_args()
    if options.quick:
        options.streams = [streams for streams in options.streams if streams in (1, 8, 32)] or options.streams[:1]
        options.rounds = min(options.rounds, 2)
    return options


def keep(options: argparse.Namespace, measurements: dict[str, dict[str, Any]]) -> None:
    write(options, figures_of(measurements), measurements)


def figures_of(measurements: dict[str, dict[str, Any]]) -> dict[str, float]:
    stats = {}
    for size, parts in measurements.items():
        if "load_s" in parts:
            stats[f"{size}_load_s"] = parts["load_s"][-1]
        for row in parts.get("streams", []):
            stats[f"{size}_streams_{row['streams']}_x_real_time"] = row["x_real_time"]
            stats[f"{size}_streams_{row['streams']}_ttfa_ms"] = row["ttfa_p50_ms"]
    return stats


# Parts


def build(run: Run) -> None:
    folder = run.options.checkpoints / f"stand-in-{run.size}"
    if (folder / "speech_tokenizer/model.safetensors").exists():
        return
    from tests.support.checkpoints import build_checkpoint

    begin_s = time.perf_counter()
    build_checkpoint(folder, "custom_voice", SIZES[run.size])
    run.found(build_s=time.perf_counter() - begin_s)


def measure(run: Run) -> None:
    engine = load(run)
    try:
        print(table(HEADS, []), flush=True)
        rows: list[Row] = []
        for streams in run.options.streams:
            rows.append(together(engine, streams, run.options.frames, run.options.rounds))
            print(table(HEADS, [cells(run.size, rows[-1])]).splitlines()[-1], flush=True)
            run.found(streams=rows, memory_bytes_after=engine.gpu_memory_bytes())
        run.found(**interrupted(engine, max(run.options.streams), run.options))
    finally:
        engine.close()
    del engine
    run.found(qwen_tts=compare(run))


def load(run: Run) -> Engine:
    """Twice, as the first load also initialises CUDA and reads the files from disk; the second one is reported."""
    load_s = []
    for is_last in (False, True):
        begin_s = time.perf_counter()
        engine = create_engine(QWEN3_TTS_CUSTOM_VOICE, run.environment())
        load_s.append(time.perf_counter() - begin_s)
        run.found(load_s=load_s, memory_bytes_after_load=engine.gpu_memory_bytes(), device=engine.capabilities.device)
        if not is_last:
            engine.close()
            del engine
            gc.collect()
    return engine


def together(engine: Engine, streams: int, frames: int, rounds: int) -> Row:
    """`streams` requests at once, `rounds` times after a warm-up."""
    walls_s, sinks = [], []
    for number in range(rounds + 1):
        begin_s = time.perf_counter()
        batch = [begin(engine, frames, seed) for seed in range(streams)]
        finish(batch, frames)
        if number:
            walls_s.append(time.perf_counter() - begin_s)
            sinks += batch
    ttfa_ms = [1e3 * sink.first_s for sink in sinks]
    steps_ms = [step for sink in sinks for step in steps_of(sink)]
    return {
        "streams": streams,
        "x_real_time": streams * frames / FRAMES_PER_SECOND / statistics.median(walls_s),
        "ttfa_p50_ms": percentile(ttfa_ms, 50),
        "ttfa_p95_ms": percentile(ttfa_ms, 95),
        "step_p50_ms": percentile(steps_ms, 50),
        "step_p95_ms": percentile(steps_ms, 95),
        "late_chunks": sum(late_chunks(sink) for sink in sinks),
    }


def interrupted(engine: Engine, slots: int, options: argparse.Namespace) -> dict[str, Any]:
    """With all rows but one busy, TTFA of a new request; with all rows busy, the time from a cancellation to the free
    row, and to the first audio of the request that waited for it."""
    joined_ms, freed_ms, next_ms = [], [], []
    for _ in range(options.rounds):
        busy = [begin(engine, LONG * options.frames, seed) for seed in range(slots - 1)]
        for sink in busy:
            sink.wait_heard()
        joining = begin(engine, LONG * options.frames, slots)
        joining.wait_heard()
        joined_ms.append(1e3 * joining.first_s)
        waiting = begin(engine, LONG * options.frames, slots + 1)
        cancel_s = time.perf_counter()
        hang_up([joining])
        freed_ms.append(1e3 * (joining.begin_s + joining.done_s - cancel_s))
        waiting.wait_heard()
        next_ms.append(1e3 * (waiting.begin_s + waiting.first_s - cancel_s))
        hang_up([*busy, waiting])
    named = {"joining_ttfa_ms": joined_ms, "cancel_to_free_ms": freed_ms, "cancel_to_next_audio_ms": next_ms}
    return {name: statistics.median(values) for name, values in named.items()}


def compare(run: Run) -> str:
    """qwen-tts with one stream; a few frames suffice, as its time grows linearly."""
    if importlib.util.find_spec("qwen_tts") is None:
        return "not installed"
    engine = create_engine(QWEN3_TTS_CUSTOM_VOICE, run.environment(ENGINE="reference"))
    frames = min(25, run.options.frames)
    speak_s(engine, 1, frames)
    seconds = statistics.median(speak_s(engine, 1, frames) for _ in range(min(3, run.options.rounds)))
    engine.close()
    return f"{frames / FRAMES_PER_SECOND / seconds:.3g} x real time over {frames} frames"


# Statistics of sinks.


def steps_of(sink: TimedSink) -> Iterable[float]:
    """Milliseconds for each frame, of each chunk but the first."""
    for (before_s, _), (now_s, samples) in zip(sink.chunks, sink.chunks[1:], strict=False):
        yield 1e3 * (now_s - before_s) * FRAME_SAMPLES / samples


def late_chunks(sink: TimedSink) -> int:
    """Chunks that arrived after everything before them had been played."""
    late, played_until_s = 0, sink.first_s
    for now_s, samples in sink.chunks:
        late += now_s > played_until_s
        played_until_s = max(now_s, played_until_s) + samples / FRAME_SAMPLES / FRAMES_PER_SECOND
    return late


def percentile(values: list[float], percent: int) -> float:
    """0 if there are none, as with utterances of one chunk."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0


# Tables


def cells(size: str, row: Row) -> list[object]:
    return [size, *row.values()]


def overview(measurements: dict[str, dict[str, Any]]) -> str:
    """A table of the results; a missing part has an empty cell."""
    rows = [cells(size, row) for size, parts in measurements.items() for row in parts.get("streams", [])]
    heads = ("size", "load s", "GPU GiB", "joining TTFA ms", "cancel to free ms", "cancel to next audio ms", "qwen-tts")
    others = [
        (
            size,
            parts.get("load_s", [""])[-1],
            (parts.get("memory_bytes_after") or 0) / 2**30,
            *(parts.get(name, "") for name in ("joining_ttfa_ms", "cancel_to_free_ms", "cancel_to_next_audio_ms")),
            parts.get("qwen_tts", ""),
        )
        for size, parts in measurements.items()
    ]
    return f"\n{table(HEADS, rows)}\n\n{table(heads, others)}"


if __name__ == "__main__":
    main()
