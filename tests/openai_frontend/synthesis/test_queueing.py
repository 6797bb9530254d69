"""Queued requests, over real sockets."""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx2

from tests.support.fake_stack import FakeStack
from tests.support.replies import check
from tests.support.stack import Frontend, Gate
from tests.support.waiting import eventually


def speak(frontend: Frontend, name: str, key: str = "none", **script: object) -> httpx2.Response:
    body = {"model": "scripted", "input": json.dumps({"name": name, **script}), "response_format": "pcm"}
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.post(f"{frontend.url}/v1/audio/speech", json=body, headers=headers, timeout=60)


def test_the_queue_is_round_robin_although_one_key_has_sent_many_requests(
    stack: FakeStack, name: str, gate: Gate
) -> None:
    settings = {"idle_timeout": 0, "api_keys": "sk-1,sk-2", "max_active_requests": 1, "queue_timeout": 0}
    with (
        Frontend(triton_url=stack.triton.url, model_names={"scripted": "scripted"}, **settings) as frontend,
        ThreadPoolExecutor(4) as threads,
    ):
        replies = [threads.submit(speak, frontend, f"{name}-0", "sk-1", chunks=2, gate=str(gate))]
        eventually(lambda: f"{name}-0 begins" in stack.script_log(), "the first is served")
        for number, key in ((1, "sk-1"), (2, "sk-1"), (3, "sk-2")):
            replies.append(threads.submit(speak, frontend, f"{name}-{number}", key, chunks=2))
            eventually(lambda n=number: frontend.health()["waiting_requests"] == n, "it waits")  # type: ignore[misc]
        gate.open()
        assert {reply.result().status_code for reply in replies} == {200}
    begun = [line.split()[0] for line in stack.script_log() if line.startswith(name) and line.endswith("begins")]
    assert begun == [f"{name}-{number}" for number in (0, 1, 3, 2)]


def test_a_queued_request_that_times_out_gets_retry_after(stack: FakeStack, name: str, gate: Gate) -> None:
    settings = {"idle_timeout": 0, "max_active_requests": 1, "queue_timeout": 0.3}
    with (
        Frontend(triton_url=stack.triton.url, model_names={"scripted": "scripted"}, **settings) as frontend,
        ThreadPoolExecutor(1) as threads,
    ):
        first = threads.submit(speak, frontend, f"{name}-0", chunks=2, gate=str(gate))
        eventually(lambda: f"{name}-0 begins" in stack.script_log(), "the first is served")
        reply = speak(frontend, f"{name}-1", chunks=1)
        check(reply, 503, None, "queue_timeout")
        assert int(reply.headers["retry-after"]) >= 1
        gate.open()
        assert first.result().status_code == 200
        assert frontend.health()["pending_requests"] == 0
    assert f"{name}-1 begins" not in stack.script_log()
