"""Command-line tools: batch synthesis, load test, smoke test and examples over tritonclient."""
