"""Timings, side by side with what we compare to."""
