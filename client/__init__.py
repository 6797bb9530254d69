"""Room 4: scripts for people, over tritonclient[http] and plain HTTP. Imports speech_protocol only."""
