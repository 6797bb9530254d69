"""Scripts for people, over tritonclient[http] and plain HTTP. Imports speech_protocol and speech_text only."""
