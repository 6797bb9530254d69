"""Request bodies, read within limits of time and memory: media types, JSON, remote recordings."""
