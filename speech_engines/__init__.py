"""Room 1: text to audio. Imports speech_protocol, numpy and torch; never an HTTP framework or client."""
