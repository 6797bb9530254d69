"""Four times the requests that the server can serve, for a minute: the latency of served requests and of rejections.

    python -m bench.overload [--seconds 60] [--times 4]

The embedded voice, with a typical MAX_ACTIVE_REQUESTS. The capacity is measured first, with as many clients as slots;
then requests arrive randomly at a multiple of it.
"""

import argparse
import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

from bench import report
from bench.stack import our_stack
from client.load.figures import figures
from client.load.prompts import PROMPTS
from client.load.report import table
from client.load.targets import OpenAITarget
from client.load.traffic import Driver, Load, warm_up

TEXTS = PROMPTS["long"]
CALM_S = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--times", type=float, default=4)
    parser.add_argument("--places", type=int, default=os.cpu_count() or 2, help="MAX_ACTIVE_REQUESTS")
    parser.add_argument("--output", type=Path, default=report.RESULTS / "overload.json")
    options = parser.parse_args()
    rows = []
    # No queue; then one of at most a second.
    for name, waiting, timeout_s in (("no queue", 0, 0), ("a second's queue", 4 * options.places, 1)):
        settings = {
            "MAX_ACTIVE_REQUESTS": options.places,
            "MAX_PENDING_REQUESTS": options.places + waiting,
            "QUEUE_TIMEOUT": timeout_s,
        }
        with (
            tempfile.TemporaryDirectory() as folder,
            our_stack(Path(folder), DEFAULT_MODEL="hibari", IDLE_TIMEOUT=0, **settings) as ours,
        ):
            target = OpenAITarget(ours.url, name, "tts-1", "alloy")
            rows += asyncio.run(overload(target, options))
    print(table(rows))
    numbers = {}
    for name in ("no queue", "a second's queue"):
        calm, _, storm = (row for row in rows if row["target"] == name)
        key = "queue" if "queue" in name else "none"
        numbers |= {
            f"{key}_calm_ttfa_p50_ms": 1000 * calm["ttfa_s"]["p50"],
            f"{key}_calm_ttfa_p95_ms": 1000 * calm["ttfa_s"]["p95"],
            f"{key}_overload_ttfa_p50_ms": 1000 * storm["ttfa_s"]["p50"],
            f"{key}_overload_ttfa_p95_ms": 1000 * storm["ttfa_s"]["p95"],
            f"{key}_overload_served": storm["served"],
            f"{key}_overload_requests": storm["requests"],
            f"{key}_overload_refused": storm["failures"].get("status 503", 0),
            f"{key}_refusal_p95_ms": 1000 * (storm["refusal_s"]["p95"] or 0),
        }
    report.write(options, numbers, rows)
    print(report.table(("figure", "value"), numbers.items()))


async def overload(target: OpenAITarget, options: argparse.Namespace) -> list[dict[str, Any]]:
    await warm_up(target, TEXTS, 120)
    calm = figures(await Driver(target, TEXTS, Load(CALM_S, clients=1)).run())
    full = figures(await Driver(target, TEXTS, Load(CALM_S, clients=options.places)).run())
    rate_per_s = options.times * full["served"] / full["wall_s"]
    storm = Load(options.seconds, rate_per_s=rate_per_s)
    named = (("calm", calm), ("full", full), (storm.name, figures(await Driver(target, TEXTS, storm).run())))
    return [{"target": target.label, "load": name, **row} for name, row in named]


if __name__ == "__main__":
    main()
