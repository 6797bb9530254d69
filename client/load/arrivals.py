"""When requests are sent: at random times (open loop), or when a client has received its reply (closed loop)."""

import random
from collections.abc import Iterator


def poisson_s(rate_per_s: float, seconds: float, seed: int) -> Iterator[float]:
    """The moments of arrivals before `seconds`, at `rate_per_s` on average, each independent of the others."""
    chance = random.Random(seed)
    at_s = chance.expovariate(rate_per_s)
    while at_s < seconds:
        yield at_s
        at_s += chance.expovariate(rate_per_s)
