"""Check the engine on this machine: that it is right, then how fast it is.

    make check-model MODEL_ID=/path/to/checkpoint          docker compose run --rm triton check

It prints a table and writes the same as JSON, for bug reports. The exit code is 0 only if everything agrees.
"""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from speech_protocol.errors import SpeechError
from speech_protocol.models import QWEN3_TTS, QWEN3_TTS_CUSTOM_VOICE, ModelSpec, checkpoint_of, task_of_checkpoint

_ROWS: Final = (1, 4, 16)
_SPEED_S: Final = 4.0
Check = Callable[[], Any]


def main(argv: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ, recorder: Any = None) -> int:
    """Returns the exit code. Tests replace the GPU's `recorder`."""
    options = _options(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    spec, environment = _spec(options.checkpoint or environment.get("MODEL_ID", ""), environment)
    report: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": spec.name,
        "checkpoint": Path(checkpoint_of(spec, environment)).name,
    }
    try:
        _run(report, spec, environment, options, recorder)
    except SpeechError as error:
        report["failure"] = error.to_text()
    except Exception as error:  # noqa: BLE001  (what it is about is to be reported, whatever it was)
        report["failure"] = f"{type(error).__name__}: {error}"
    report["agrees"] = "failure" not in report and all(check["passed"] is not False for check in report["checks"])
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    _print(report, options.output)
    return 0 if report["agrees"] else 1


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="check", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", nargs="?", help="hub id or folder (default: MODEL_ID)")
    parser.add_argument("--frames", type=int, default=64, help="that are compared; 12.5 make a second")
    parser.add_argument("--seconds", type=float, default=_SPEED_S, help="of each utterance that is timed")
    parser.add_argument("--output", type=Path, default=Path("check-model.json"))
    options = parser.parse_args(argv)
    if not os.access(options.output.absolute().parent, os.W_OK):  # as in the container
        options.output = Path("/tmp") / options.output.name
    return options


def _spec(checkpoint: str, environment: Mapping[str, str]) -> tuple[ModelSpec, dict[str, str]]:
    """The Triton model for the checkpoint, and its environment."""
    task = task_of_checkpoint(checkpoint) if checkpoint else QWEN3_TTS_CUSTOM_VOICE.task
    spec = next(spec for spec in QWEN3_TTS if spec.task is task)
    return spec, {**environment, **({spec.checkpoint_variable: checkpoint} if checkpoint else {})}


def _run(
    report: dict[str, Any], spec: ModelSpec, environment: Mapping[str, str], options: argparse.Namespace, recorder: Any
) -> None:
    from dataclasses import asdict

    begin_s = time.perf_counter()
    import torch

    from speech_engines.qwen3_tts.batching.engine import BatchEngine
    from speech_engines.qwen3_tts.check import agreement, quality, speed
    from speech_engines.qwen3_tts.checkpoint.checkpoint import open_checkpoint
    from speech_engines.qwen3_tts.config import EngineConfig
    from speech_engines.qwen3_tts.factory import capabilities_of
    from speech_engines.qwen3_tts.runner.model_runner import TorchModelRunner
    from speech_engines.qwen3_tts.runner.placement import Placement

    load_s = {"imports": round(time.perf_counter() - begin_s, 3)}
    report["load_s"] = load_s
    config = EngineConfig.from_environment(environment)
    placement = Placement.from_config(config)
    report["device"] = _device(torch, placement)
    checkpoint = open_checkpoint(spec, environment)
    device = TorchModelRunner(spec, checkpoint, placement, config, recorder)
    load_s |= device.load_s
    report["rows"], report["positions"] = device.slots, device.cache_positions
    checks = [
        agreement.check_graphs(device),
        agreement.check_batch(device, spec.task, options.frames),
        agreement.check_stream(device, spec.task, options.frames),
    ]
    report["checks"] = [asdict(check) for check in checks]
    what = capabilities_of(spec, checkpoint, placement, config, device)
    engine = BatchEngine(device, what, 2 * device.slots, guarded=False)  # the weights may be random
    try:
        speed.measure(engine, 1, options.seconds)  # not counted
        rows = sorted({*(rows for rows in _ROWS if rows < device.slots), device.slots})
        report["speed"] = [speed.measure(engine, count, options.seconds) for count in rows]
        report["memory_gib"] = _memory_gib(torch, placement.device)
    finally:
        engine.close()
    del engine, device
    later = (agreement.check_upstream, quality.check_int8)
    report["checks"] += [asdict(check(spec, checkpoint, config, options.frames)) for check in later]


def _device(torch: Any, placement: Any) -> dict[str, Any]:
    from speech_engines.qwen3_tts.runner import gpu

    found = {"name": placement.describe(), "dtype": placement.dtype, "torch": torch.__version__}
    if placement.notes:
        found["notes"] = list(placement.notes)
    if placement.device == "cpu":
        return found | {"threads": torch.get_num_threads()}
    free, total = torch.cuda.mem_get_info(placement.device)
    capability = ".".join(map(str, torch.cuda.get_device_capability(placement.device)))
    return found | {
        "driver": gpu.driver_version(),
        "compute_capability": capability,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "memory_gib": round(total / 2**30, 2),
        "free_gib": round(free / 2**30, 2),
    }


def _memory_gib(torch: Any, device: str) -> float:
    """Peak memory of this process in GiB, on the device or on the host."""
    if device != "cpu":
        return float(round(torch.cuda.max_memory_reserved(device) / 2**30, 2))
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def _print(report: Mapping[str, Any], output: Path) -> None:
    lines = [f"{report['model']}: {report['checkpoint']}"]
    lines += [f"  {name.replace('_', ' ')}: {value}" for name, value in report.get("device", {}).items()]
    lines += [f"  {report['rows']} rows, {report['positions']} positions"] if "rows" in report else []
    load_s = report.get("load_s", {})
    lines += ["", f"load, {sum(load_s.values()):.2f} s:"] + [f"  {part:<24}{s:8.2f} s" for part, s in load_s.items()]
    verdicts = {True: "ok", False: "DIFFERS", None: "not checked"}
    lines += ["", "correct:"]
    lines += [
        f"  {check['name']:<28}{verdicts[check['passed']]:<13}{check['detail']}" for check in report.get("checks", [])
    ]
    lines += ["", "fast:", "   rows   first audio   x real time"]
    lines += [
        f"  {row['rows']:5}{row['ttfa_ms']:11.1f} ms{row['x_real_time']:14.2f}" for row in report.get("speed", [])
    ]
    lines += [f"  {report['memory_gib']} GiB held at most"] if "memory_gib" in report else []
    lines += ["", f"FAILED: {report['failure']}"] if "failure" in report else []
    lines += ["", f"{'everything agrees' if report['agrees'] else 'NOT EVERYTHING AGREES'}; the same as JSON: {output}"]
    _write(lines)


def _write(lines: Iterable[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
