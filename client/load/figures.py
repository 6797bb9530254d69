"""The results of a load as comparable figures."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from .traffic import CANCELLED, Outcome, Traffic

_PERCENTILES: Final = (50, 95, 99)
# From this delay on, the figures describe the load generator rather than the server.
_MAX_LAG_S: Final = 0.05


def figures(traffic: Traffic) -> dict[str, Any]:
    """The figures of one load. Times are in seconds; `x` is audio seconds per second; percentiles are over complete
    replies, TTFA to the first audible sample, or to the first byte if the format is not decoded."""
    served = [outcome for outcome in traffic.outcomes if not outcome.failure]
    failures = Counter(outcome.failure for outcome in traffic.outcomes if outcome.failure)
    cancelled = failures.pop(CANCELLED, 0)
    audio_s = sum(outcome.heard.audio_s or 0.0 for outcome in traffic.outcomes)
    lag_s = percentile(99, (*traffic.lags_s, *(outcome.late_s for outcome in traffic.outcomes)))
    return {
        "requests": len(traffic.outcomes),
        "served": len(served),
        "failures": dict(sorted(failures.items())),
        "cancelled": cancelled,
        "peak_in_flight": traffic.peak_in_flight,
        "wall_s": traffic.wall_s,
        "audio_s": audio_s,
        "x": audio_s / traffic.wall_s if traffic.wall_s else 0.0,
        "ttfa_s": spread(map(time_to_first_audio_s, served)),
        "end_to_end_s": spread(outcome.took_s for outcome in served),
        "leading_silence_s": spread(outcome.heard.leading_silence_s for outcome in served),
        "underrun_requests": sum(outcome.heard.underruns > 0 for outcome in served),
        "underruns": sum(outcome.heard.underruns for outcome in served),
        "underrun_s": sum(outcome.heard.underrun_s for outcome in served),
        "refusal_s": spread(outcome.took_s for outcome in traffic.outcomes if outcome.failure.startswith("status")),
        "tester_lag_p99_s": lag_s,
        "tester_is_the_bottleneck": lag_s is not None and lag_s > _MAX_LAG_S,
    }


def time_to_first_audio_s(outcome: Outcome) -> float | None:
    """Seconds from the request to the first audible sample, or to the first byte if the format is not decoded."""
    heard = outcome.heard
    return heard.first_byte_s if heard.first_audible_s is None else heard.first_audible_s


def spread(values: Iterable[float | None]) -> dict[str, float | None]:
    """p50, p95 and p99 of the available values; None without any."""
    present = [value for value in values if value is not None]
    return {f"p{rank}": percentile(rank, present) for rank in _PERCENTILES}


def percentile(rank: float, values: Sequence[float]) -> float | None:
    """The percentile (0 to 100) of the values; None without any."""
    return float(np.percentile(values, rank)) if values else None
