"""Processes killed and stopped at the worst moments: the next request is served within the time stated in
docs/operations.md, and only a log line remains."""

import os
import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx2
import psutil
import pytest
import tritonclient.http

from tests.faults.test_stub import FRAME_BYTES, SOON_S, is_whole_again, speak
from tests.support.processes import has_ended, shared_memory, stub_of, stubs
from tests.support.stack import Stack
from tests.support.waiting import eventually

MOMENTS_MS = (0, 10, 20, 30, 50, 100, 400)


def unload(stack: Stack) -> None:
    with tritonclient.http.InferenceServerClient(stack.triton.url.partition("://")[2]) as client:
        client.unload_model("scripted")


def newborn(stack: Stack) -> psutil.Process | None:
    """The process that Triton has just started for a model, before or after it became the stub."""
    try:
        children = psutil.Process(stack.triton.pid).children(recursive=True)
        return next((child for child in children if "/scripted/" in " ".join(child.cmdline())), None)
    except psutil.Error:
        return None


def wait_for_newborn(stack: Stack) -> psutil.Process:
    deadline_s = time.monotonic() + SOON_S
    while (found := newborn(stack)) is None:  # no pause: milliseconds count here
        assert time.monotonic() < deadline_s
    return found


def outcome(reply: Future[httpx2.Response]) -> int | str:
    try:
        return reply.result(SOON_S).status_code
    except httpx2.RemoteProtocolError:
        return "cut"  # the process was killed after the first audio of the reply


@pytest.mark.parametrize("moment_ms", MOMENTS_MS)
def test_a_model_process_killed_at_any_moment_of_its_start_is_replaced(stack: Stack, name: str, moment_ms: int) -> None:
    unload(stack)
    eventually(lambda: newborn(stack) is None, "the model is unloaded")
    load_gate = Path(stack.script) / "load-gate"
    load_gate.touch()  # it is still loading, on any machine
    try:
        with ThreadPoolExecutor(1) as threads:
            reply = threads.submit(speak, stack, name, chunks=3)
            process = wait_for_newborn(stack)
            threading.Event().wait(moment_ms / 1000)  # the moment is what the test is about
            process.kill()
            load_gate.unlink()
            assert len(reply.result(SOON_S).content) == 3 * FRAME_BYTES
    finally:
        load_gate.unlink(missing_ok=True)
    is_whole_again(stack, name)


@pytest.mark.parametrize("moment_ms", MOMENTS_MS)
def test_a_model_process_killed_at_any_moment_of_its_unload_is_replaced(
    stack: Stack, name: str, moment_ms: int
) -> None:
    assert speak(stack, name, chunks=1).status_code == 200
    process = stub_of(stack, "scripted")
    unload(stack)
    threading.Event().wait(moment_ms / 1000)
    if not has_ended(process):
        process.kill()
    assert len(speak(stack, f"{name}-next", chunks=3).content) == 3 * FRAME_BYTES
    is_whole_again(stack, name)


def test_a_stopped_model_process_is_replaced(stack: Stack, name: str) -> None:
    assert speak(stack, name, chunks=1).status_code == 200
    process = stub_of(stack, "scripted")
    process.suspend()
    assert len(speak(stack, f"{name}-next", chunks=3).content) == 3 * FRAME_BYTES
    eventually(lambda: has_ended(process), "the stopped process is killed")
    is_whole_again(stack, name)


def test_a_stopped_triton_is_replaced(stack: Stack, name: str) -> None:
    assert speak(stack, name, chunks=1).status_code == 200
    before = stack.triton.pid
    os.kill(before, signal.SIGSTOP)
    health = httpx2.get(f"{stack.frontend.url}/health", timeout=SOON_S)
    assert (health.status_code, health.json()["status"]) == (503, "unavailable")
    assert len(speak(stack, f"{name}-next", chunks=3).content) == 3 * FRAME_BYTES
    assert stack.triton.pid != before
    assert len([stub for stub in stubs(stack) if not has_ended(stub)]) <= 2
    is_whole_again(stack, name)


def test_kills_at_random_moments_of_loads_and_unloads_leave_nothing_behind(stack: Stack, name: str) -> None:
    """KILL_SECONDS=300 for a long run."""
    seconds = float(os.environ.get("KILL_SECONDS", "10"))
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    assert speak(stack, name, chunks=1).status_code == 200
    files_before = psutil.Process().num_fds()
    outcomes: Counter[int | str] = Counter()
    end_s = time.monotonic() + seconds
    with ThreadPoolExecutor(4) as threads:
        while time.monotonic() < end_s:
            replies = [threads.submit(speak, stack, f"{name}-{chance.random()}", chunks=3) for _ in range(3)]
            if chance.random() < 0.5:
                unload(stack)
            threading.Event().wait(chance.uniform(0, 0.5))
            if (process := newborn(stack)) is not None:
                process.kill()
            outcomes.update(map(outcome, replies))
    # A request whose process is killed repeatedly fails; it never hangs.
    assert set(outcomes) <= {200, 503, "cut"}, (seed, outcomes)
    assert outcomes[200] > outcomes[503] + outcomes["cut"], (seed, outcomes)
    is_whole_again(stack, name)
    eventually(lambda: psutil.Process().num_fds() <= files_before + 10, f"no file is left open, seed {seed}")
    used = shared_memory(stub for stub in stubs(stack) if not has_ended(stub))
    prefix = stack.triton._shm_prefix
    eventually(
        lambda: len(list(Path("/dev/shm").glob(f"{prefix}*"))) <= len(used) + 2,
        f"no shared memory is left, seed {seed}",
    )
