"""Requests that wait for a limited number of slots, with the test's clock."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from openai_frontend.errors import ApiError
from openai_frontend.synthesis.fair_queue import FairQueue


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))


class House:
    """Requests by name, `OWNER NUMBER`, and the order in which they got a slot; each holds its slot until it is
    released."""

    def __init__(self, fair_queue: FairQueue) -> None:
        self.served: list[str] = []
        self._fair_queue = fair_queue
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def arrive(self, *names: str) -> None:
        for name in names:
            self._ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._request(name))
            await asyncio.sleep(0)

    def end(self, name: str) -> None:
        self._ends[name].set()

    async def leave(self, name: str) -> None:
        self.end(name)
        await self.tasks[name]
        await asyncio.sleep(0)

    async def _request(self, name: str) -> None:
        async with self._fair_queue.take(name.split()[0]):
            self.served.append(name)
            await self._ends[name].wait()


def test_the_queue_is_round_robin_by_key_and_in_order_within_a_key() -> None:
    async def scenario() -> None:
        house = House(FairQueue(1, 0))
        await house.arrive("a 0", "a 1", "a 2", "b 0", "b 1", "c 0")
        for name in ("a 0", "a 1", "b 0", "c 0", "a 2", "b 1"):
            assert house.served[-1] == name
            await house.leave(name)
        assert house.served == ["a 0", "a 1", "b 0", "c 0", "a 2", "b 1"]

    run(scenario)


def test_concurrency_never_exceeds_the_slots_and_every_request_is_served() -> None:
    async def scenario() -> None:
        fair_queue = FairQueue(3, 0)
        house = House(fair_queue)
        await house.arrive(*(f"a {number}" for number in range(10)))
        assert (len(house.served), fair_queue.waiting) == (3, 7)
        for number in range(10):
            await house.leave(f"a {number}")
        assert len(house.served) == 10
        await house.arrive("a 10")
        assert house.served[-1] == "a 10"
        await house.leave("a 10")

    run(scenario)


@pytest.mark.parametrize("first", ["end", "cancel"])
def test_a_request_cancelled_when_its_slot_is_granted_is_skipped_and_no_slot_is_lost(first: str) -> None:
    async def scenario() -> None:
        fair_queue = FairQueue(1, 0)
        house = House(fair_queue)
        await house.arrive("a 0", "b 0", "c 0")
        steps = [lambda: house.end("a 0"), house.tasks["b 0"].cancel]
        for step in steps if first == "end" else reversed(steps):
            step()
        await asyncio.wait([house.tasks["a 0"], house.tasks["b 0"]])
        assert house.tasks["b 0"].cancelled()
        await asyncio.sleep(0)
        assert house.served == ["a 0", "c 0"]
        await house.leave("c 0")
        assert (fair_queue.active, fair_queue.waiting) == (0, 0)

    run(scenario)


def test_a_cancelled_request_leaves_no_gap_in_the_queue() -> None:
    async def scenario() -> None:
        fair_queue = FairQueue(1, 0)
        house = House(fair_queue)
        await house.arrive("a 0", "a 1", "a 2", "a 3")
        house.tasks["a 1"].cancel()
        await asyncio.wait([house.tasks["a 1"]])
        assert fair_queue.waiting == 2
        await house.leave("a 0")
        assert house.served == ["a 0", "a 2"]
        await house.leave("a 2")
        await house.leave("a 3")
        assert fair_queue.waiting == 0

    run(scenario)


def test_a_slot_granted_at_the_moment_of_a_disconnect_goes_to_the_next_request() -> None:
    async def scenario() -> None:
        fair_queue = FairQueue(1, 0)
        house = House(fair_queue)
        first = fair_queue.take("a")
        await first.__aenter__()
        await house.arrive("a 1", "a 2")
        await first.__aexit__(None, None, None)  # passes the place on without giving way to its new holder
        house.tasks["a 1"].cancel()
        await asyncio.wait([house.tasks["a 1"]])
        await asyncio.sleep(0)
        assert house.served == ["a 2"]
        await house.leave("a 2")

    run(scenario)


def test_a_time_out_in_the_queue_has_a_retry_after_from_recent_durations() -> None:
    async def scenario() -> None:
        seconds = iter([0.0, 40.0, 40.0, 40.0])
        fair_queue = FairQueue(2, 0.01, lambda: next(seconds))
        async with fair_queue.take("a"):
            pass
        async with fair_queue.take("a"), fair_queue.take("a"):
            with pytest.raises(ApiError) as raised:
                async with fair_queue.take("b"):
                    pass
            seconds = iter([40.0, 40.0])
        assert (raised.value.status, raised.value.code) == (503, "queue_timeout")
        assert raised.value.headers["Retry-After"] == "20"  # a request takes 40 s, and one of two places is enough
        assert fair_queue.waiting == 0

    run(scenario)


def test_without_a_limit_no_request_waits() -> None:
    async def scenario() -> None:
        house = House(FairQueue(0, 1))
        await house.arrive(*(f"a {number}" for number in range(50)))
        assert len(house.served) == 50
        for number in range(50):
            await house.leave(f"a {number}")

    run(scenario)


def test_the_seconds_to_retry_after_are_those_of_the_measured_rate() -> None:
    async def scenario() -> None:
        now_s = 0.0
        fair_queue = FairQueue(2, 0, lambda: now_s)
        for _ in range(3):
            async with fair_queue.take("a"):
                now_s += 30.0
        assert fair_queue.retry_after_s() == 15
        house = House(fair_queue)
        await house.arrive("a 0", "a 1", "a 2", "b 0", "b 1")
        assert (fair_queue.active, fair_queue.waiting, fair_queue.retry_after_s()) == (2, 3, 60)
        for name in ("a 0", "a 1", "a 2", "b 0", "b 1"):
            await house.leave(name)

    run(scenario)
