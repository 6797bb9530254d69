"""The HTTP frontend: OpenAI's speech API over Triton. Depends on speech_client and FastAPI; no torch."""
