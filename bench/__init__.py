"""Benchmarks, run together with what they compare to."""
