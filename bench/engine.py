"""The batching engine against qwen-tts, both through the Engine protocol: audio frames a second, and first audio.

    python -m bench.engine --checkpoint FOLDER [--frames 12] [--streams 1 8 16] [--repeats 3]

Same machine, weights, text and forced number of frames; the two take turns. FOLDER is a full-size stand-in with random
weights, which never ends an utterance by itself; it is built if it is not there.
"""

import argparse
import json
import os
import platform
import statistics
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch

from speech_engines.base import Engine, Samples
from speech_engines.qwen3_tts.factory import create_engine
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from speech_protocol.errors import SpeechError
from speech_protocol.events import EndEvent
from speech_protocol.models import QWEN3_TTS_CUSTOM_VOICE
from speech_protocol.request import SpeechRequest
from tests.support.checkpoints import build_checkpoint

TEXT = "The quick brown fox jumps over the lazy dog, and then it does so again."


@dataclass
class TimedSink:
    """When the first samples came, and when the last."""

    begin_s: float = field(default_factory=time.perf_counter)
    first_s: float = 0.0
    done_s: float = 0.0
    samples: int = 0

    def audio(self, samples: Samples) -> None:
        self.first_s = self.first_s or time.perf_counter() - self.begin_s
        self.samples += len(samples)

    def end(self, event: EndEvent) -> None:
        self.done_s = time.perf_counter() - self.begin_s

    def error(self, error: SpeechError) -> None:
        raise error

    def is_cancelled(self) -> bool:
        return False


def run(engine: Engine, streams: int, frames: int) -> dict[str, float]:
    """`streams` utterances of `frames` frames at once: wall seconds, aggregate frames a second, median first audio."""
    begin_s = time.perf_counter()
    sinks = [TimedSink() for _ in range(streams)]
    for number, sink in enumerate(sinks):
        seconds = frames * FRAME_SAMPLES / SAMPLE_RATE_HZ
        engine.submit(SpeechRequest(TEXT, speaker="ryan", seed=number, max_audio_seconds=seconds), sink)
    while not all(sink.done_s for sink in sinks):
        time.sleep(0.005)
    wall_s = time.perf_counter() - begin_s
    assert all(sink.samples == frames * FRAME_SAMPLES for sink in sinks)
    first_s = statistics.median(sink.first_s for sink in sinks)
    return {"wall_s": wall_s, "frames_per_s": streams * frames / wall_s, "first_audio_s": first_s}


def median(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(row[name] for row in rows), 4) for name in rows[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 16])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--output", type=Path, default=Path("bench/results/engine.json"))
    options = parser.parse_args()
    if not options.checkpoint.exists():
        build_checkpoint(options.checkpoint, "custom_voice", "full-0.6b")
    environment = {"MODEL_ID": str(options.checkpoint), "DTYPE": options.dtype, "MAX_AUDIO_SECONDS": "60"}
    loads, engines = {}, {}
    for name in ("batching", "reference"):
        begin_s = time.perf_counter()
        engines[name] = create_engine(QWEN3_TTS_CUSTOM_VOICE, {**environment, "ENGINE": name})
        loads[name] = round(time.perf_counter() - begin_s, 2)
    rows: dict[str, list[dict[str, float]]] = {}
    for repeat in range(options.repeats + 1):  # the first is the warm-up
        for key, engine, streams in [
            ("reference 1", engines["reference"], 1),
            *((f"batching {streams}", engines["batching"], streams) for streams in options.streams),
        ]:
            row = run(engine, streams, options.frames)
            if repeat:
                rows.setdefault(key, []).append(row)
    for engine in engines.values():
        engine.close()
    results = {key: median(values) for key, values in rows.items()}
    base = results["reference 1"]
    for key, row in results.items():
        row["times_reference"] = round(row["frames_per_s"] / base["frames_per_s"], 2)
        row["first_audio_of_reference"] = round(row["first_audio_s"] / base["first_audio_s"], 4)
        print(f"{key:14} {row}")
    print(f"load {loads}")
    report = {
        "command": f"python -m bench.engine --frames {options.frames} --dtype {options.dtype}",
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {name: version(name) for name in ("torch", "qwen-tts", "transformers")},
        "threads": torch.get_num_threads(),
        "load_s": loads,
        "results": results,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
