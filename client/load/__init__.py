"""Parts of the load tester: texts, arrivals, playback simulation and reports."""
