"""The fleet simulation, compared with analytical results."""

import math
import random
from itertools import pairwise

import pytest

from bench.fleet import DAY_S, Fleet, day_of_arrivals_s, following


def poisson(rate_per_s: float, seed: int) -> list[float]:
    chance = random.Random(seed)
    arrivals, at_s = [], 0.0
    while (at_s := at_s + chance.expovariate(rate_per_s)) < DAY_S:
        arrivals.append(at_s)
    return arrivals


def erlang_c_wait_s(rate_per_s: float, hold_s: float, places: int) -> float:
    """The mean wait of an M/M/c queue."""
    load = rate_per_s * hold_s
    top = load**places / math.factorial(places) * places / (places - load)
    waits = top / (sum(load**k / math.factorial(k) for k in range(places)) + top)
    return waits / (places / hold_s - rate_per_s)


@pytest.mark.parametrize(("places", "rate_per_s"), [(1, 0.07), (8, 0.7), (16, 1.5)])
def test_one_pod_all_day_is_the_queue_that_erlang_solved(places: int, rate_per_s: float) -> None:
    hold_s = 10.0
    waits_s = [
        wait_s
        for seed in range(4)
        for wait_s in Fleet(places, hold_s).run(poisson(rate_per_s, seed), lambda *_: 1, 100 + seed).waits_s
    ]
    assert sum(waits_s) / len(waits_s) == pytest.approx(erlang_c_wait_s(rate_per_s, hold_s, places), rel=0.12)


def test_pods_cost_their_running_time_and_enough_of_them_avoid_waiting() -> None:
    arrivals = day_of_arrivals_s(2.0)
    day = Fleet(16, 8.0).run(arrivals, lambda *_: 12)
    assert day.pod_s == pytest.approx(12 * DAY_S)
    assert len(day.waits_s) == len(arrivals)
    assert max(day.waits_s) == 0


def test_the_rule_follows_the_day_within_its_bounds_and_takes_less_than_a_fleet_for_the_peak() -> None:
    arrivals = day_of_arrivals_s(4.0)
    day = Fleet(16, 8.0).run(arrivals, following(10, 8))
    pods = [count for _, count, _ in day.samples]
    assert (min(pods), max(pods)) == (1, 8)
    assert day.pod_s < 0.6 * 8 * DAY_S
    assert sorted(day.waits_s)[len(day.waits_s) // 2] == 0
    # At most one pod a minute is removed.
    drops = [at_s for (at_s, count, _), before in zip(day.samples[1:], pods, strict=False) if count < before]
    assert all(later - earlier >= 60 for earlier, later in pairwise(drops))
