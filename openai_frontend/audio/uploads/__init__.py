"""Uploaded recordings: decoding in a subprocess, cleaning, conversion to reference audio."""
