"""The result of a load test: a table, JSON, and a picture."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

_PACKAGES: Final = ("triton-speech-server", "aiohttp", "numpy")
_HEADS: Final = (
    *("target", "load", "served", "failed", "cancelled"),
    *("TTFA p50 ms", "p95", "p99", "end p95 s", "×", "with gaps", "peak in flight"),
)

Row = Mapping[str, Any]  # target, load, and the figures of figures.py


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = [_HEADS, ("---",) * len(_HEADS), *map(_cells, rows)]
    notes = [
        f"\n{row['target']}, {row['load']}: the tester itself was late (p99 {1000 * row['tester_lag_p99_s']:.0f} ms); "
        "these figures say less about the server than about this machine."
        for row in rows
        if row["tester_is_the_bottleneck"]
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "".join(notes)


def _cells(row: Row) -> tuple[str, ...]:
    ttfa = [_milliseconds(row["ttfa_s"][rank]) for rank in ("p50", "p95", "p99")]
    failed = ", ".join(f"{count} {kind}" for kind, count in row["failures"].items()) or "0"
    end_s = row["end_to_end_s"]["p95"]
    return (
        *(row["target"], row["load"], f"{row['served']} of {row['requests']}", failed, str(row["cancelled"]), *ttfa),
        *("-" if end_s is None else f"{end_s:.2f}", f"{row['x']:.1f}", str(row["underrun_requests"])),
        str(row["peak_in_flight"]),
    )


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.0f}"


def write(path: Path, rows: Sequence[Row], settings: Mapping[str, Any], command: str) -> None:
    """The whole result as JSON, with the machine and versions."""
    result = {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "system": platform.platform(terse=True)},
        "versions": {"python": platform.python_version(), **_versions()},
        "settings": settings,
        "loads": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def plot(path: Path, rows: Sequence[Row]) -> None:
    """TTFA and × over the load, one line for each target. Raises ModuleNotFoundError without matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    waits, speeds = figure.subplots(1, 2)
    for target in dict.fromkeys(row["target"] for row in rows):
        own = [row for row in rows if row["target"] == target]
        loads = [row["load"] for row in own]
        for rank, style in (("p50", "-"), ("p95", "--")):
            waits_ms = [1000 * (row["ttfa_s"][rank] or float("nan")) for row in own]
            waits.plot(loads, waits_ms, f"o{style}", label=f"{target} {rank}")
        speeds.plot(loads, [row["x"] for row in own], "o-", label=target)
    for axes, what in ((waits, "time to first audio, ms"), (speeds, "audio seconds per second")):
        axes.set(xlabel="load", ylabel=what, ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (names or [platform.machine()])[0]
