"""`make serve` and `make serve-qwen`: Triton and the frontend on this machine, until Ctrl-C.

With the embedded voice nothing is downloaded and no GPU is needed; `--qwen` makes Qwen3-TTS the default model.
"""

import argparse
import os
import sys
import time

from local_stack.ports import cannot_start, check_ports
from openai_frontend.stop_signals import StopSignals


def main(arguments: list[str] | None = None) -> None:
    """Run the stack; returns when it has been stopped. Exits with one line for each problem that prevents the start."""
    screen = Screen()
    signals = StopSignals(on_first=lambda: screen.say_at_once("stopping"))
    signals.install()
    parser = argparse.ArgumentParser(prog="make serve", description=__doc__)
    parser.add_argument("--qwen", action="store_true", help="make Qwen3-TTS the default model, not the embedded voice")
    options = parser.parse_args(arguments)
    screen.say("starting")
    if problems := check_ports(os.environ):
        sys.exit(cannot_start(problems))
    # The import takes a second or more: by then the first line is printed and signals are handled.
    from local_stack.stack import run_stack

    run_stack(screen, signals, qwen=options.qwen)


class Screen:
    """Prints lines with the seconds since the start."""

    def __init__(self) -> None:
        self._begin_s = time.perf_counter()

    def say(self, text: str) -> None:
        """Print a line."""
        print(self._line(text), flush=True)

    def say_at_once(self, text: str) -> None:
        """Without Python's buffer, which a signal handler must not use."""
        os.write(1, f"{self._line(text)}\n".encode())

    def _line(self, text: str) -> str:
        return f"[{time.perf_counter() - self._begin_s:5.1f} s] {text}"


if __name__ == "__main__":
    main()
