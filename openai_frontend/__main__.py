"""`python -m openai_frontend`: the frontend alone, beside a Triton that runs elsewhere."""

import sys

from openai_frontend.stop_signals import StopSignals


def main() -> None:
    """Serve until SIGTERM or Ctrl-C. Exits with a line for each reason why it can't start."""
    signals = StopSignals()
    signals.install()
    # They take a second, in which a signal must be heard.
    import asyncio

    from openai_frontend.observability.logs import set_up
    from openai_frontend.run import NotStartedError, run
    from openai_frontend.startup import SettingsProblem, read_settings, warn

    try:
        settings = read_settings()
    except SettingsProblem as problem:
        sys.exit("\n".join(f"Cannot start: {sentence}" for sentence in problem.sentences))
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


if __name__ == "__main__":
    main()
