"""The whole stack compared with another server of the same voice, and the overhead compared with the engine alone.

    python -m bench.side_by_side [--clients 1,4,16,64] [--seconds 8] [--rounds 3] [--texts english]

The embedded voice on both sides, so that only the servers differ: ours streams sentence by sentence through Triton, the
other one (bench/other_server.py) synthesizes the whole utterance, one request at a time. Rounds are interleaved.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import report
from bench.stack import Running, other_process, our_stack
from client.load.figures import figures
from client.load.prompts import PROMPTS
from client.load.report import plot, table
from client.load.targets import OpenAITarget, Target, TritonTarget
from client.load.traffic import Driver, Load, warm_up
from local_stack.triton_process import free_port

VOICE = "heart"


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--clients", default="1,4,16,64")
    options.add_argument("--seconds", type=float, default=8)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--utterances", type=int, default=60, help="utterances of the engine alone")
    options.add_argument("--texts", choices=PROMPTS, default="english")
    options.add_argument("--output", type=Path, default=report.RESULTS / "side_by_side.json")
    options = options.parse_args()
    counts = [int(count) for count in options.clients.split(",")]
    texts = PROMPTS[options.texts]
    alone = engine_alone(texts, options.utterances)
    port = free_port()
    other_url = f"http://127.0.0.1:{port}"
    with (
        tempfile.TemporaryDirectory() as folder,
        our_stack(Path(folder), DEFAULT_MODEL="hibari", DEFAULT_VOICE="alloy", IDLE_TIMEOUT=0) as ours,
        other_process(other_url, "bench.other_server", "--port", str(port)) as other,
    ):
        servers: list[tuple[Target, Running]] = [
            (OpenAITarget(ours.url, "ours", "tts-1", VOICE), ours),
            (TritonTarget(ours.triton_url, "Triton alone", "hibari", VOICE), ours),
            (OpenAITarget(other.url, "whole utterances", "tts-1", VOICE), other),
        ]
        rows = asyncio.run(sweep(servers, texts, counts, options.seconds, options.rounds))
    print(table(rows))
    one = {row["target"]: row for row in rows if row["load"] == "1 clients"}
    first_s = {label: row["first_byte_s"]["p50"] for label, row in one.items()}
    numbers = {
        "engine_first_chunk_ms": 1000 * alone["first_chunk_s"],
        "ours_first_byte_ms": 1000 * first_s["ours"],
        "added_by_triton_ms": 1000 * (first_s["Triton alone"] - alone["first_chunk_s"]),
        "added_by_frontend_ms": 1000 * (first_s["ours"] - first_s["Triton alone"]),
        "engine_cpu_ms_per_audio_second": 1000 * alone["cpu_s_per_audio_s"],
        **{f"ours_cpu_ms_per_audio_second_{name}": 1000 * s for name, s in one["ours"]["cpu_s_per_audio_s"].items()},
        **{
            f"{name}_{count}_{what}": value
            for name, label in (("ours", "ours"), ("other", "whole utterances"))
            for count in counts
            for row in rows
            if (row["target"], row["load"]) == (label, f"{count} clients")
            for what, value in (("x", row["x"]), ("ttfa_p50_ms", 1000 * (row["ttfa_s"]["p50"] or 0)))
        },
    }
    report.write(options, numbers, {"engine_alone": alone, "loads": rows})
    plot(options.output.with_suffix(".png"), rows)
    print(report.table(("figure", "value"), numbers.items()))


async def sweep(
    servers: Sequence[tuple[Target, Running]],
    texts: Sequence[str],
    counts: Sequence[int],
    seconds: float,
    rounds: int,
) -> list[dict[str, Any]]:
    """The median round of each target and load, by audio generated per second."""
    for target, _ in servers:
        await warm_up(target, texts, 120)
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for number in range(rounds):
        for count in counts:
            for target, server in servers:
                row = await measure(target, server, texts, Load(seconds, clients=count, seed=number))
                found.setdefault((row["target"], row["load"]), []).append(row)
                print(table([row]).splitlines()[2], file=sys.stderr, flush=True)
    return [sorted(rows, key=lambda row: row["x"])[len(rows) // 2] for rows in found.values()]


async def measure(target: Target, server: Running, texts: Sequence[str], load: Load) -> dict[str, Any]:
    before = server.cpu_s()
    traffic = await Driver(target, texts, load).run()
    row = {"target": target.label, "load": load.name, **figures(traffic)}
    used = {name: after - before[name] for name, after in server.cpu_s().items()}
    firsts = [outcome.heard.first_byte_s for outcome in traffic.outcomes if outcome.heard.first_byte_s is not None]
    return {
        **row,
        "first_byte_s": {"p50": statistics.median(firsts) if firsts else None},
        "cpu_s_per_audio_s": {name: cpu_s / max(row["audio_s"], 1e-9) for name, cpu_s in used.items()},
    }


def engine_alone(texts: Sequence[str], utterances: int) -> dict[str, float]:
    """The engine in this process, one utterance after another: no Triton, no HTTP, no encoder."""
    from speech_engines.hibari import HibariSynthesizer, Speakers
    from speech_protocol.request import SpeechRequest

    engine = HibariSynthesizer(Speakers())
    chance = np.random.default_rng(0)
    firsts, samples = [], 0
    cpu_s = time.process_time()
    for _ in range(utterances):
        begin_s, first_s = time.perf_counter(), None
        for chunk in engine.synthesize(SpeechRequest(str(chance.choice(texts)), speaker=VOICE), lambda: False):
            first_s = first_s or time.perf_counter() - begin_s
            samples += len(chunk)
        firsts.append(first_s or 0.0)
    cpu_s = time.process_time() - cpu_s
    engine.close()
    return {"first_chunk_s": statistics.median(firsts), "cpu_s_per_audio_s": cpu_s / (samples / 24_000)}


if __name__ == "__main__":
    main()
