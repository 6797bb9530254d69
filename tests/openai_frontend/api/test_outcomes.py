"""The lifetime and the number of stored outcomes."""

import pytest

from openai_frontend.api.outcomes import KEPT_S, MAX_KEPT, Outcomes
from openai_frontend.errors import ApiError
from speech_protocol.events import EndEvent, FinishReason

END = EndEvent(FinishReason.STOP, 1, 2, 0.0, 0.0, 0.0)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_an_outcome_is_there_until_a_minute_after_its_end() -> None:
    clock = Clock()
    outcomes = Outcomes(clock)
    outcome = outcomes.begin("key", "a")
    clock.now_s = 10 * KEPT_S
    assert outcomes.find("key", "a")["status"] == "in_progress"
    outcome.completed(END)
    outcomes.close(outcome)
    clock.now_s += KEPT_S
    assert outcomes.find("key", "a")["status"] == "completed"
    clock.now_s += 1
    with pytest.raises(ApiError) as error:
        outcomes.find("key", "a")
    assert (error.value.status, error.value.param) == (404, "request_id")


def test_the_oldest_outcomes_are_dropped_for_new_ones() -> None:
    outcomes = Outcomes()
    for number in range(MAX_KEPT + 1):
        outcomes.begin("key", str(number))
    assert outcomes.find("key", "1")
    with pytest.raises(ApiError):
        outcomes.find("key", "0")
    outcomes.begin("key", "1")  # begins again, and is the newest
    outcomes.begin("key", "one more")
    assert outcomes.find("key", "1")
