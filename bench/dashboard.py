"""A picture of the dashboard's panels, with data from a real stack under traffic.

    python -m bench.dashboard [--seconds 90]

Prometheus, with the rules of deploy/, scrapes Triton and the frontend during arrivals in waves, disconnects,
rejections, an idle unload, and a killed model process. The queries of the Grafana dashboard are drawn with matplotlib.
"""

import argparse
import asyncio
import json
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import psutil
from matplotlib.figure import Figure

from bench import report
from bench.stack import Running, our_stack
from client.load.prompts import PROMPTS
from client.load.targets import OpenAITarget
from client.load.traffic import Driver, Load
from speech_protocol.models import QWEN3_TTS
from tests.support.checkpoints import build_checkpoint
from tests.support.prometheus import find_tools, running

DASHBOARD = Path("deploy/grafana/dashboards/speech.json")
COLUMNS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--output", type=Path, default=report.RESULTS / "dashboard.png")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoints = {
            spec.checkpoint_variable: str(build_checkpoint(folder / spec.name, str(spec.task), "tiny", False))
            for spec in QWEN3_TTS
        }
        engine = {**checkpoints, "HF_HUB_OFFLINE": "1", "DEVICE": "cpu", "OMP_NUM_THREADS": "1", "RUNAWAY_GUARD": "off"}
        limits = {"MAX_ACTIVE_REQUESTS": 4, "MAX_PENDING_REQUESTS": 8, "IDLE_TIMEOUT": 15}
        with our_stack(folder, engine, **limits) as ours:
            targets = {"frontend": ours.url.partition("://")[2], "triton": f"127.0.0.1:{ours.metrics_port}"}
            with running(find_tools(folder / "tools"), folder, targets) as prometheus:
                begin_s = time.time()
                asyncio.run(traffic(ours, options.seconds))
                draw(prometheus.url, begin_s, time.time(), options.output)


async def traffic(ours: Running, seconds: float) -> None:
    """Both voices in three waves; between the second and the third one a model's process is killed."""
    hibari = OpenAITarget(ours.url, "hibari", "hibari", "alloy", "mp3")
    qwen = OpenAITarget(ours.url, "qwen", "tts-1", "vivian", "opus")
    for number, rate_per_s in enumerate((2.0, 12.0, 4.0)):
        load = Load(seconds / 3, rate_per_s=rate_per_s, seed=number, cancel_share=0.1)
        slow = Load(seconds / 3, rate_per_s=rate_per_s / 4, seed=number)
        await asyncio.gather(Driver(hibari, PROMPTS["english"], load).run(), Driver(qwen, PROMPTS["short"], slow).run())
        if number == 1:
            stubs = ours.processes["triton"].children(recursive=True)
            kill_one([stub for stub in stubs if any("/hibari/" in word for word in stub.cmdline())])


def kill_one(processes: list[psutil.Process]) -> None:
    for process in processes[:1]:
        process.kill()


def draw(url: str, begin_s: float, end_s: float, output: Path) -> None:
    panels = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(5 * COLUMNS, 2.8 * rows), layout="constrained")
    places = list(figure.subplots(rows, COLUMNS).flat)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(places, panels, strict=False):
        for target in panel["targets"]:
            for series in query_range(url, target["expr"].replace("$__rate_interval", "15s"), begin_s, end_s):
                label = target["legendFormat"]
                for name, value in series["metric"].items():
                    label = label.replace(f"{{{{{name}}}}}", value)
                times = [float(at) - begin_s for at, _ in series["values"]]
                axes.plot(times, [float(value) for _, value in series["values"]], label=label, linewidth=1.2)
        axes.set_title(panel["title"], fontsize=10)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=6)
        else:
            axes.text(0.5, 0.5, "no data here", ha="center", transform=axes.transAxes, color="grey")
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=80)


def query_range(url: str, expression: str, begin_s: float, end_s: float) -> list[dict[str, Any]]:
    parameters = urllib.parse.urlencode({"query": expression, "start": begin_s, "end": end_s, "step": 1})
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{parameters}", timeout=30) as reply:
        return list(json.load(reply)["data"]["result"])


if __name__ == "__main__":
    main()
