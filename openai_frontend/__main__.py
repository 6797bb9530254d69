"""`python -m openai_frontend`: the frontend alone, beside a Triton that runs elsewhere."""

import logging
import sys

import uvicorn
from pydantic import ValidationError
from pydantic_settings import SettingsError

from openai_frontend.app import create_app
from openai_frontend.settings import Settings

# Streams may finish for so long; a little less than what containers are given to stop.
GRACEFUL_STOP_S = 30


def main() -> None:
    try:
        settings = Settings()
    except (SettingsError, ValidationError) as error:
        sys.exit(f"A setting is wrong.\n{error}")
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACEFUL_STOP_S,
    )


if __name__ == "__main__":
    main()
