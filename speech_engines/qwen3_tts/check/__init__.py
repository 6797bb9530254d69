"""Proves the engine on this machine's device, with this checkpoint, and says how fast it is."""
