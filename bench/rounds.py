"""Interleaved measurements: everything that is compared shares one run, so a slow minute of the machine affects all
sides."""

import statistics
import time
from collections.abc import Callable, Mapping

Seconds = dict[str, list[float]]


def timed_s(run: Callable[[], object]) -> float:
    begin_s = time.perf_counter()
    run()
    return time.perf_counter() - begin_s


def in_turns(sides: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 1) -> Seconds:
    """The results of each side, one a round in the given order, after `warm_up` rounds that are discarded."""
    figures: Seconds = {name: [] for name in sides}
    for number in range(warm_up + rounds):
        for name, measure in sides.items():
            figure = measure()
            if number >= warm_up:
                figures[name].append(figure)
    return figures


def medians(figures: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in figures.items()}
