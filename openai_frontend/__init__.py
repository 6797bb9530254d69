"""Room 3: the OpenAI API over HTTP. Imports speech_protocol and FastAPI; never torch, never the engines."""
