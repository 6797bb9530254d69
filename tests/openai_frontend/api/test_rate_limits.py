"""The allowance of a key over time, with the test's clock."""

import pytest

from openai_frontend.api.rate_limits import Allowance
from openai_frontend.errors import ApiError


def test_an_allowance_comes_back_evenly_over_the_minute() -> None:
    now_s = 0.0
    allowance = Allowance(requests_per_minute=2, characters_per_minute=0, clock=lambda: now_s)
    allowance.spend_request()
    allowance.spend_request()
    with pytest.raises(ApiError) as refused:
        allowance.spend_request()
    assert refused.value.headers["Retry-After"] == "30"
    assert allowance.headers()["x-ratelimit-reset-requests"] == "1m0s"
    now_s = 30.0
    allowance.spend_request()
    with pytest.raises(ApiError):
        allowance.spend_request()
    now_s = 3000.0
    assert allowance.headers()["x-ratelimit-remaining-requests"] == "2"
    assert allowance.headers()["x-ratelimit-reset-requests"] == "0ms"
