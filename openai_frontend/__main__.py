"""`python -m openai_frontend`: the frontend alone, beside a Triton that runs elsewhere."""

import asyncio
import logging
import sys

from pydantic import ValidationError
from pydantic_settings import SettingsError

from openai_frontend.server import Server
from openai_frontend.settings import Settings

# Streams may finish for so long; a little less than what containers are given to stop.
GRACEFUL_STOP_S = 30


def main() -> None:
    try:
        settings = Settings()
    except (SettingsError, ValidationError) as error:
        sys.exit(f"A setting is wrong.\n{error}")
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(Server(settings, GRACEFUL_STOP_S).run_until_stopped())
    except OSError as error:
        sys.exit(f"{settings.host}:{settings.port} cannot be used ({error.strerror}). Set HOST or PORT.")


if __name__ == "__main__":
    main()
