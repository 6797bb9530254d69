"""The result format of all benchmarks: command, date, machine, versions, settings, figures."""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path("bench/results")
PACKAGES: Final = ("torch", "transformers", "qwen-tts", "numpy")


def parser(
    doc: str | None, name: str, *, frames: int, rounds: int = 5, threads: bool = True
) -> argparse.ArgumentParser:
    """The options that all modules share; the result is written to `name`.json."""
    options = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    options.add_argument("--checkpoint", type=Path, required=True, help="folder, see tests/support/checkpoints.py")
    options.add_argument("--frames", type=int, default=frames, help="forced length of an utterance; 12.5 a second")
    options.add_argument("--rounds", type=int, default=rounds)
    options.add_argument("--output", type=Path, default=RESULTS / f"{name}.json")
    if threads:
        options.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    return options


def write(
    options: argparse.Namespace, figures: Mapping[str, float], measurements: object, note: str = ""
) -> dict[str, Any]:
    """Write the result, and return it. `figures` are the values for the documentation, each with its unit in its name
    (ratios have none); `measurements` are the raw values."""
    result = {
        "command": command(sys.argv),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "settings": {name: value for name, value in vars(options).items() if not isinstance(value, Path)},
        "note": note,
        "figures": {name: round(value, 4) for name, value in figures.items()},
        "measurements": measurements,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = options.output.with_suffix(".part")
    unfinished.write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")
    unfinished.replace(options.output)
    return result


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The figures in Markdown."""
    lines = [heads, ["---"] * len(heads), *([_cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def command(argv: Sequence[str]) -> str:
    """The command line, independent of this machine: a folder elsewhere becomes one in `models/`."""
    words = [f"models/{Path(word).name}" if Path(word).is_absolute() else word for word in argv[1:]]
    return " ".join([f"python -m bench.{Path(argv[0]).stem}", *words])


def commit() -> str:
    """The commit of the measured code; empty outside of a clone."""
    try:
        found = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return found.stdout.strip()


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """The machine, without its name."""
    import torch

    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "instructions": _instructions(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    } | gpu


def _processor() -> str:
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    return (names or [platform.machine()])[0]


def _instructions() -> str:
    """The widest instruction sets for matrix products."""
    flags = next((line.split() for line in _cpuinfo() if line.startswith("flags")), [])
    known = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16", "avx512f": "AVX512", "avx2": "AVX2"}
    return next((name for flag, name in known.items() if flag in flags), "")


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
