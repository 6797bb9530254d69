"""Checkpoint folders: their files, their configuration and the requests that they serve."""
