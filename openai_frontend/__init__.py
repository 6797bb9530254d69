"""The HTTP frontend: OpenAI's speech API over Triton. Depends on speech_client and FastAPI; no torch."""

from typing import Final

__version__: Final = "0.1.0"
