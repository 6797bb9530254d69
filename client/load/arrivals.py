"""When requests are sent: as people come, whoever is still waiting (open loop), or as each client is done (closed)."""

import random
from collections.abc import Iterator


def poisson_s(rate_per_s: float, seconds: float, seed: int) -> Iterator[float]:
    """The moments of arrivals before `seconds`, at `rate_per_s` on average, each independent of the others."""
    chance = random.Random(seed)
    at_s = chance.expovariate(rate_per_s)
    while at_s < seconds:
        yield at_s
        at_s += chance.expovariate(rate_per_s)
