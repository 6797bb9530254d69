"""Requests in flight, and each key's share of them."""

from contextlib import ExitStack
from itertools import count

import pytest

from openai_frontend.errors import ApiError
from openai_frontend.synthesis.admission import Admission
from openai_frontend.synthesis.fair_queue import FairQueue


def fill(admission: Admission, held: ExitStack, owner: str) -> int:
    """The number of requests that one owner can have in flight."""

    def take_all() -> None:
        for _ in count():
            held.enter_context(admission.admit(owner))

    with pytest.raises(ApiError) as raised:
        take_all()
    assert (raised.value.status, raised.value.code) == (503, "server_overloaded")
    assert int(raised.value.headers["Retry-After"]) >= 1
    return admission._held[owner]


def test_without_keys_every_slot_can_be_used() -> None:
    with ExitStack() as held:
        assert fill(Admission(40, FairQueue(0, 0)), held, "anybody") == 40


@pytest.mark.parametrize("limit", [40, 256])
def test_there_is_a_slot_for_another_key_however_many_keys_flood(limit: int) -> None:
    admission = Admission(limit, FairQueue(0, 0), shares_by_key=True)
    with ExitStack() as held:
        counts = [fill(admission, held, f"key {number}") for number in range(3)]
        assert counts[0] == pytest.approx(3 / 4 * limit, abs=1)
        assert all(counts)
        with admission.admit("one more"):
            pass


def test_a_key_that_floods_is_refused_until_it_is_below_its_share_again() -> None:
    admission = Admission(40, FairQueue(0, 0), shares_by_key=True)
    with ExitStack() as first, ExitStack() as second:
        assert fill(admission, first, "a") == 30
        assert fill(admission, second, "b") >= 7
        with pytest.raises(ApiError, match="its share of the server"):
            first.enter_context(admission.admit("a"))
        first.close()
        with admission.admit("a"):
            assert admission.pending == 1 + admission._held["b"]


def test_what_is_given_back_leaves_nothing_behind() -> None:
    admission = Admission(40, FairQueue(0, 0), shares_by_key=True)
    with ExitStack() as held:
        fill(admission, held, "a")
    assert (admission.pending, len(admission._held)) == (0, 0)
