"""Text-to-speech engines and their Triton models. Depends on speech_protocol, numpy and torch; no HTTP."""
