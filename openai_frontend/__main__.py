"""`tts-server`, or `python -m openai_frontend`: the frontend alone, for a Triton that runs elsewhere."""

import argparse
import os
import sys

from openai_frontend.stop_signals import StopSignals


def main() -> None:
    """Serve until SIGTERM or Ctrl-C. Exits with one line for each problem that prevents the start."""
    show_settings = _show_settings()
    signals = StopSignals()
    signals.install()
    # These imports take a second, during which a signal must not be lost.
    import asyncio

    from openai_frontend.observability.logs import set_up
    from openai_frontend.run import NotStartedError, run
    from openai_frontend.settings.report import report
    from openai_frontend.startup import SettingsProblem, read_settings, warn

    try:
        settings = read_settings()
    except SettingsProblem as problem:
        sys.exit("\n".join(f"Cannot start: {sentence}" for sentence in problem.sentences))
    if show_settings:
        sys.stdout.write(report(settings, os.environ) + "\n")
        return
    set_up(settings.log_level, settings.log_format)
    warn(settings)
    try:
        asyncio.run(run(settings, signals))
    except NotStartedError as error:
        sys.exit(f"Cannot start: {error}")
    except OSError as error:
        reason = error.strerror or error
        sys.exit(f"Cannot start: {settings.host}:{settings.port} cannot be used ({reason}). Set HOST or PORT.")
    signals.ignore()


def _show_settings() -> bool:
    """The command line's only option."""
    parser = argparse.ArgumentParser("tts-server", description="The OpenAI speech API. Settings: docs/settings.md.")
    what = "print every setting, its value and where it comes from, and exit"
    parser.add_argument("--show-settings", action="store_true", help=what)
    return bool(parser.parse_args().show_settings)


if __name__ == "__main__":
    main()
