"""Voices: built-in names, the library of stored voices, blends and consents."""
