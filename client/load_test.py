"""Load test of a speech server: time to first audible sample, audio seconds per second, gaps in playback.

    tts-load-test --rates 1,2,4
    tts-load-test --clients 1,4,16 ours=http://127.0.0.1:8101 'theirs=http://127.0.0.1:8880?voice=af_sky'

A target is the URL of a server with OpenAI's /v1/audio/speech, or `triton+http://127.0.0.1:8000?model=hibari` for a
speech model of Triton without the frontend; `model`, `voice` and `format` after a `?` apply to that target only. All
targets get the same loads, one after another. TTS_API_KEY is the API key, if the server requires one; Triton's key is
TRITON_CONTROL_KEY, or read from the file of `make serve`.

Exits with 1 if a request failed unintentionally, and with 2 if a target is unreachable.
"""

import argparse
import asyncio
import os
import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp

from speech_protocol.control import read_key

from .load import report
from .load.figures import figures
from .load.prompts import PROMPTS
from .load.targets import OpenAITarget, Target, TargetError, TritonTarget
from .load.traffic import Driver, Load, warm_up

DEFAULT_TARGET = "http://127.0.0.1:8101"
TRITON = "triton+"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. Exits with the status described above."""
    options = _parse(arguments)
    if options.plot and find_spec("matplotlib") is None:
        # Before the load, not after it.
        sys.exit(
            "--plot needs matplotlib, which is not installed. Run: "
            ".venv/bin/uv pip install --constraints requirements/dev.txt matplotlib"
        )
    try:
        targets = [parse_target(text, options) for text in options.targets]
        prompts = _prompts(options.prompts)
    except (ValueError, OSError) as error:
        sys.exit(f"{error}")
    rows = asyncio.run(_run(targets, prompts, options))
    print("\n" + report.table(rows))
    settings = {name: value for name, value in vars(options).items() if not isinstance(value, Path)}
    words = sys.argv[1:] if arguments is None else arguments
    report.write(options.output, rows, settings, shlex.join(["tts-load-test", *words]))
    if options.plot:
        report.plot(options.plot, rows)
    sys.exit(any(row["failures"] for row in rows))


async def _run(targets: Sequence[Target], prompts: Sequence[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for target in targets:
        try:
            await warm_up(target, prompts, options.load_timeout)
        except (TargetError, aiohttp.ClientError, OSError) as error:
            print(f"{target.label} is unreachable: {error}", file=sys.stderr)
            sys.exit(2)
        for load in loads(options):
            row = {"target": target.label, "load": load.name, **figures(await Driver(target, prompts, load).run())}
            print(report.table([row]).splitlines()[2], flush=True)
            rows.append(row)
    return rows


def loads(options: argparse.Namespace) -> list[Load]:
    """The sweep, in the requested order."""
    shared = {"seed": options.seed, "cancel_share": options.cancel, "timeout_s": options.timeout}
    rates = [Load(options.seconds, rate_per_s=rate, **shared) for rate in options.rates or ()]
    return rates or [Load(options.seconds, clients=clients, **shared) for clients in options.clients]


def parse_target(text: str, options: argparse.Namespace) -> Target:
    """LABEL=URL?model=...&voice=...&format=..., of which only the URL is required. Raises ValueError."""
    label, separator, address = text.partition("=") if "=" in text.partition("://")[0] else ("", "", text)
    parts = urlsplit(address.removeprefix(TRITON))
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError(f"'{address}' is not the URL of a server, such as {DEFAULT_TARGET}.")
    own = dict(parse_qsl(parts.query))
    if unknown := set(own) - {"model", "voice", "format"}:
        raise ValueError(f"'{', '.join(sorted(unknown))}' in '{address}' is not one of model, voice and format.")
    url = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/").removesuffix("/v1")
    label = label if separator else parts.netloc
    if address.startswith(TRITON):
        return TritonTarget(url, label, own.get("model", "hibari"), own.get("voice", ""), control_key=read_key())
    model, voice = own.get("model", options.model), own.get("voice", options.voice)
    return OpenAITarget(url, label, model, voice, own.get("format", options.format), os.environ.get("TTS_API_KEY", ""))


def _prompts(name: str) -> Sequence[str]:
    if name in PROMPTS:
        return PROMPTS[name]
    lines = [line.strip() for line in Path(name).read_text(encoding="utf-8").splitlines()]
    if not any(lines):
        raise ValueError(f"{name} has no text.")
    return [line for line in lines if line]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tts-load-test",
        description="Load test of a speech server: time to first audible sample, audio seconds per second, gaps.",
    )
    parser.add_argument(
        "targets", nargs="*", default=[DEFAULT_TARGET], help=f"[LABEL=]URL[?model=..] (default: {DEFAULT_TARGET})"
    )
    sweep = parser.add_mutually_exclusive_group()
    sweep.add_argument("--rates", type=_numbers, help="requests a second, with random arrivals: 0.5,1,2")
    sweep.add_argument(
        "--clients", type=_counts, default=[1, 4, 16], help="clients that each wait for their reply (default: 1,4,16)"
    )
    parser.add_argument("--seconds", type=float, default=20, help="length of each load (default: %(default)s)")
    sets = ", ".join(PROMPTS)
    parser.add_argument(
        "--prompts", default="english", help=f"{sets}, or a file with one text a line (default: %(default)s)"
    )
    parser.add_argument("--model", default="tts-1", help="default: %(default)s")
    parser.add_argument("--voice", default="alloy", help="default: %(default)s")
    parser.add_argument("--format", default="pcm", help="pcm, wav: playback is simulated; others: timed (default: pcm)")
    parser.add_argument("--cancel", type=float, default=0.0, help="share of requests to cancel (default: 0)")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for a reply (default: %(default)s)")
    parser.add_argument(
        "--load-timeout", type=float, default=900, help="seconds for the first request (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of arrivals and texts (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("out/load.json"), help="default: %(default)s")
    parser.add_argument("--plot", type=Path, help="write a PNG of time to first audio and × over the load")
    return parser.parse_args(arguments)


def _numbers(text: str) -> list[float]:
    values = [float(part) for part in text.split(",")]
    if min(values) <= 0:
        raise ValueError(text)
    return values


def _counts(text: str) -> list[int]:
    return [int(value) for value in _numbers(text)]


if __name__ == "__main__":
    main()
