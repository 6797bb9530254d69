"""Request bodies, read within bounds of time and memory: media types, JSON, remote recordings."""
