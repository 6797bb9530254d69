"""Checks the engine with a checkpoint on this machine's device, and measures its speed."""
