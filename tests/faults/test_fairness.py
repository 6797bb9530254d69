"""A key that floods the server is refused, others are served, and a refusal has a Retry-After."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.support.fake_triton import FakeTriton
from tests.support.stack import Frontend
from tests.support.waiting import eventually

BODY = {"input": '{"chunks": 20}', "response_format": "pcm"}


@pytest.fixture(scope="module")
def triton() -> Iterator[FakeTriton]:
    with FakeTriton("hibari") as running:
        yield running


def speak(
    frontend: Frontend, key: str, body: dict[str, str] = BODY, client: httpx2.Client | None = None
) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {key}"}
    post = httpx2.post if client is None else client.post
    return post(f"{frontend.url}/v1/audio/speech", json=body, headers=headers, timeout=60)


def test_a_key_is_served_while_another_one_floods_the_server(triton: FakeTriton) -> None:
    settings = {"api_keys": "greedy,modest", "max_active_requests": 2, "max_pending_requests": 16, "idle_timeout": 0}
    with Frontend(triton_url=triton.url, default_model="hibari", **settings) as frontend:
        done = threading.Event()
        flooded: Counter[int] = Counter()

        def flood() -> None:
            while not done.is_set():
                flooded[speak(frontend, "greedy", client=shared).status_code] += 1

        limits = httpx2.Limits(max_connections=30)
        with httpx2.Client(limits=limits) as shared, ThreadPoolExecutor(24) as threads:
            flooding = [threads.submit(flood) for _ in range(24)]
            try:
                eventually(lambda: flooded[503] > 40, "the greedy key is refused")
                served = [speak(frontend, "modest", client=shared).status_code for _ in range(5)]
            finally:
                done.set()
            for each in flooding:
                each.result()
        assert served == [200] * 5
        assert flooded[200]


def test_a_full_server_says_when_to_retry_by_what_requests_take(triton: FakeTriton) -> None:
    settings = {"max_active_requests": 1, "max_pending_requests": 2, "idle_timeout": 0, "queue_timeout": 0}
    with (
        Frontend(triton_url=triton.url, default_model="hibari", **settings) as frontend,
        ThreadPoolExecutor(2) as threads,
    ):
        held = {"input": '{"chunks": 2, "hold": "full"}', "response_format": "pcm"}
        running = [threads.submit(speak, frontend, "none", held) for _ in range(2)]
        eventually(lambda: frontend.health()["pending_requests"] == 2, "the server is full")
        reply = speak(frontend, "none")
        triton.release("full")
        assert [each.result().status_code for each in running] == [200, 200]
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "server_overloaded")
    assert 1 <= int(reply.headers["retry-after"]) <= 120
    assert "at capacity" in reply.json()["error"]["message"]


def test_a_model_without_memory_is_loaded_although_clients_keep_another_one_busy() -> None:
    settings = {"max_loaded_models": 1, "idle_timeout": 0, "model_names": {"other": "other"}}
    with (
        FakeTriton("hibari", "other") as triton,
        Frontend(triton_url=triton.url, default_model="hibari", **settings) as frontend,
        httpx2.Client() as shared,
        ThreadPoolExecutor(3) as threads,
    ):
        done = threading.Event()
        busy: Counter[int] = Counter()

        def loop() -> None:
            while not done.is_set():
                busy[speak(frontend, "none", client=shared).status_code] += 1

        loops = [threads.submit(loop) for _ in range(3)]
        try:
            eventually(lambda: busy[200] > 3, "the first model is busy")
            other = speak(frontend, "none", {**BODY, "model": "other"})
            before = busy[200]
            eventually(lambda: busy[200] > before, "and is served again afterwards")
        finally:
            done.set()
        for each in loops:
            each.result()
    assert (other.status_code, set(busy)) == (200, {200})
    assert triton.calls[:4] == ["load hibari", "unload hibari", "load other", "unload other"]


@pytest.mark.parametrize("code", ["queue_full", "busy"])
def test_a_full_engine_says_when_to_retry(triton: FakeTriton, code: str) -> None:
    with Frontend(triton_url=triton.url, default_model="hibari", idle_timeout=0) as frontend:
        reply = speak(frontend, "none", {"input": f'{{"error": "{code}"}}'})
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, code)
    assert int(reply.headers["retry-after"]) >= 1
