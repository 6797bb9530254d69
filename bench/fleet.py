"""Simulates a day of a fleet: waiting times and GPU hours by scaling rule.

    python -m bench.fleet [--streams 16] [--peak 4.0] [--max-pods 8]

Requests arrive as a Poisson process whose rate follows a day (quiet at night, two peaks) with bursts of some minutes. A
pod serves `streams` at once, each for the time of its synthesis; other requests queue in order. The rule is that of
deploy/kubernetes/overlays/fleet: a pod for every `target` requests in flight, scaled up immediately, and down by one a
minute after five calm minutes; a new pod needs `start_s` until it serves. For comparison: as many pods as the peak
needs, all day, and one more than the mean needs.
"""

import argparse
import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import report

DAY_S: Final = 86_400.0
_DONE, _STARTED, _ARRIVES, _LOOK = range(4)  # in this order if they occur at the same time
Rule = Callable[[float, int], int]  # from the time and the requests in flight to the desired number of pods


@dataclass(slots=True)
class Day:
    """The results of a simulated day."""

    waits_s: list[float] = field(default_factory=list)
    pod_s: float = 0.0
    samples: list[tuple[float, int, int]] = field(default_factory=list)  # time, pods, requests in flight


@dataclass(frozen=True, slots=True)
class Fleet:
    """`hold_s` is the mean time that a request occupies a row; it is exponential. `look_s`: the interval of the
    rule."""

    streams: int
    hold_s: float
    start_s: float = 90.0
    look_s: float = 10.0

    def run(self, arrivals_s: Sequence[float], rule: Rule, seed: int = 100) -> Day:
        """Serve all arrivals in order."""
        chance, day = random.Random(seed), Day()
        looks_s = (number * self.look_s for number in range(math.ceil(DAY_S / self.look_s)))
        events = [*((at_s, _ARRIVES) for at_s in arrivals_s), *((at_s, _LOOK) for at_s in looks_s)]
        heapq.heapify(events)
        queue: deque[float] = deque()
        ready, starting, given_up, busy = rule(0.0, 0), 0, 0, 0
        while events:
            now_s, what = heapq.heappop(events)
            if what == _ARRIVES:
                queue.append(now_s)
            elif what == _DONE:
                busy -= 1
            elif what == _STARTED:
                given_up, started = max(0, given_up - 1), not given_up
                starting, ready = starting - started, ready + started
            else:
                day.pod_s += (ready + starting) * self.look_s
                wanted = rule(now_s, len(queue) + busy)
                for _ in range(wanted - ready - starting):
                    heapq.heappush(events, (now_s + self.start_s, _STARTED))
                    starting += 1
                for _ in range(ready + starting - wanted):
                    # A pod that has not started is removed first; one that has finishes its streams.
                    if starting:
                        starting, given_up = starting - 1, given_up + 1
                    else:
                        ready -= 1
                day.samples.append((now_s, ready + starting, len(queue) + busy))
            while queue and busy < self.streams * ready:
                day.waits_s.append(now_s - queue.popleft())
                heapq.heappush(events, (now_s + chance.expovariate(1 / self.hold_s), _DONE))
                busy += 1
        return day


def day_of_arrivals_s(peak_per_s: float, seed: int = 0) -> list[float]:
    """A Poisson process by thinning: at night a twentieth of the peak, peaks at ten and at eight, and six times a day
    three times the rate for five minutes."""
    chance = random.Random(seed)
    bursts_s = [chance.uniform(7, 23) * 3600 for _ in range(6)]

    def rate(at_s: float) -> float:
        hour = at_s / 3600
        usual = 0.05 + 0.65 * math.exp(-(((hour - 10) / 2.5) ** 2)) + 0.7 * math.exp(-(((hour - 20) / 2) ** 2))
        burst = 3.0 if any(begin_s <= at_s < begin_s + 300 for begin_s in bursts_s) else 1.0
        return peak_per_s * usual * burst

    most = 3 * peak_per_s * 1.4
    arrivals, at_s = [], chance.expovariate(most)
    while at_s < DAY_S:
        if chance.random() * most < rate(at_s):
            arrivals.append(at_s)
        at_s += chance.expovariate(most)
    return arrivals


def following(target: int, most: int, calm_s: float = 300.0, step_s: float = 60.0) -> Rule:
    """The rule of the fleet's ScaledObject."""
    recent: deque[tuple[float, int]] = deque()
    state = {"pods": 1, "down_s": 0.0}

    def rule(now_s: float, in_house: int) -> int:
        recent.append((now_s, min(most, max(1, math.ceil(in_house / target)))))
        while recent[0][0] < now_s - calm_s:
            recent.popleft()
        wanted = recent[-1][1]
        if wanted > state["pods"]:
            state["pods"] = wanted
        elif max(each for _, each in recent) < state["pods"] and now_s - state["down_s"] >= step_s:
            state["pods"] -= 1
            state["down_s"] = now_s
        return int(state["pods"])

    return rule


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", type=int, default=16, help="rows of a pod")
    parser.add_argument("--hold", type=float, default=8.0, help="mean seconds that a request occupies a row")
    parser.add_argument("--peak", type=float, default=4.0, help="requests a second at the evening's peak")
    parser.add_argument("--target", type=int, default=10, help="requests in flight for each pod")
    parser.add_argument("--max-pods", type=int, default=8)
    parser.add_argument("--output", type=Path, default=report.RESULTS / "fleet.json")
    options = parser.parse_args()
    arrivals_s = day_of_arrivals_s(options.peak)
    fleet = Fleet(options.streams, options.hold)
    mean = math.ceil(len(arrivals_s) / DAY_S * options.hold / options.streams)
    days = {
        "rule": fleet.run(arrivals_s, following(options.target, options.max_pods)),
        f"{options.max_pods} pods": fleet.run(arrivals_s, lambda *_: options.max_pods),
        f"{mean + 1} pods": fleet.run(arrivals_s, lambda *_: mean + 1),
    }
    numbers: dict[str, float] = {"requests": len(arrivals_s)}
    for name, day in days.items():
        waits_s = sorted(day.waits_s)
        numbers[f"{name}: gpu_hours"] = day.pod_s / 3600
        for rank in (50, 95, 99, 99.9):
            numbers[f"{name}: wait_p{rank}_s"] = waits_s[min(len(waits_s) - 1, int(len(waits_s) * rank / 100))]
    report.write(options, numbers, {})
    draw(days, options.output.with_suffix(".png"))
    print(report.table(("figure", "value"), numbers.items()))


def draw(days: dict[str, Day], path: Path) -> None:
    from matplotlib.figure import Figure  # tests of the simulation do not wait for it

    figure = Figure(figsize=(11, 6), layout="constrained")
    pods, house = figure.subplots(2, 1, sharex=True)
    for name, day in days.items():
        hours = [at_s / 3600 for at_s, _, _ in day.samples]
        pods.plot(hours, [count for _, count, _ in day.samples], label=f"{name}: {day.pod_s / 3600:.0f} GPU hours")
        house.plot(hours, [count for _, _, count in day.samples], label=name, linewidth=0.8)
    pods.set(ylabel="pods", ylim=(0, None))
    house.set(ylabel="requests in flight", xlabel="hour of the day", ylim=(0, None))
    for axes in (pods, house):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
