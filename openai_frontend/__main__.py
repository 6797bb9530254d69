"""`python -m openai_frontend`: the frontend alone, beside a Triton that runs elsewhere."""

import asyncio
import signal
import sys
from types import FrameType
from typing import NoReturn

from pydantic import ValidationError
from pydantic_settings import SettingsError

from openai_frontend.logs import set_up
from openai_frontend.server import Server, tune_interpreter
from openai_frontend.settings import Settings


def main() -> None:
    try:
        settings = Settings()
    except (SettingsError, ValidationError) as error:
        sys.exit(f"A setting is wrong.\n{error}")
    signal.signal(signal.SIGTERM, _stopped)
    set_up(settings.log_level, settings.log_format)
    try:
        server = Server(settings)
        tune_interpreter()
        asyncio.run(server.run_until_stopped())
    except OSError as error:
        sys.exit(f"{settings.host}:{settings.port} cannot be used ({error.strerror}). Set HOST or PORT.")


def _stopped(_: int, __: FrameType | None) -> NoReturn:
    """The server takes the signal, stops in order, and raises it again: then all is well."""
    sys.exit(0)


if __name__ == "__main__":
    main()
