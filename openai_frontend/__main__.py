"""`python -m openai_frontend`: the frontend alone, beside a Triton that runs elsewhere."""

import logging
import sys

import uvicorn
from pydantic import ValidationError

from openai_frontend.app import create_app
from openai_frontend.settings import Settings


def main() -> None:
    try:
        settings = Settings()
    except ValidationError as error:
        sys.exit(f"A setting is wrong.\n{error}")
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvicorn.run(create_app(settings), host=settings.host, port=settings.port, log_config=None, access_log=False)


if __name__ == "__main__":
    main()
