"""The lifecycle of Triton's models: load on demand, lease, evict, unload when idle."""
