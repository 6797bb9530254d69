"""Bounded, independent thread pools."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from openai_frontend.errors import ApiError
from openai_frontend.thread_pools import WorkerPool


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_one_pool_works_while_every_thread_of_another_is_blocked() -> None:
    async def scenario() -> None:
        gate = threading.Event()
        blocked, free = WorkerPool("blocked", 2, 10), WorkerPool("free", 1, 10)
        waiting = [asyncio.create_task(blocked.run(gate.wait)) for _ in range(5)]
        assert await free.run(lambda: "done") == "done"
        gate.set()
        assert await asyncio.gather(*waiting) == [True] * 5

    run(scenario)


def test_a_full_queue_refuses_until_its_calls_have_ended() -> None:
    async def scenario() -> None:
        gate = threading.Event()
        pool = WorkerPool("small", 1, 2)
        waiting = [asyncio.create_task(pool.run(gate.wait)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(ApiError, match="small queue is full") as raised:
            await pool.run(gate.wait)
        assert (raised.value.status, raised.value.code) == (503, "server_overloaded")
        gate.set()
        await asyncio.gather(*waiting)
        assert await pool.run(lambda: "again") == "again"

    run(scenario)


def test_a_call_whose_caller_is_cancelled_in_the_queue_never_runs_and_frees_its_place() -> None:
    async def scenario() -> None:
        gate, ran = threading.Event(), threading.Event()
        pool = WorkerPool("small", 1, 1)
        first = asyncio.create_task(pool.run(gate.wait))
        second = asyncio.create_task(pool.run(ran.set))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait([second])
        third = asyncio.create_task(pool.run(lambda: "third"))
        gate.set()
        assert (await first, await third) == (True, "third")
        assert not ran.is_set()

    run(scenario)
