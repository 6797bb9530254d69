"""Continuous batching: engine, scheduler, sequences and the runaway guard."""
