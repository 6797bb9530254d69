"""Clients that read nothing, or disconnect, at any moment: their slots are freed."""

import gc
import json
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.test_stub import pending, speak
from tests.support.slow_reader import SlowReader
from tests.support.stack import Frontend, Stack
from tests.support.waiting import eventually

HANG_UPS = 1_000


def test_a_client_that_never_reads_is_disconnected(stack: Stack, name: str) -> None:
    settings = {"model_names": {"scripted": "scripted"}, "idle_timeout": 0, "send_timeout": 1}
    with Frontend(triton_url=stack.triton.url, **settings) as frontend:
        endless = {"model": "scripted", "input": json.dumps({"name": name, "chunks": None}), "response_format": "pcm"}
        with SlowReader(frontend, endless):
            assert frontend.health()["pending_requests"] == 1
            eventually(lambda: frontend.health()["pending_requests"] == 0, "its place is free", timeout_s=90)
            eventually(
                lambda: any(line.startswith(f"{name} ends") for line in stack.script_log()), "the engine is free"
            )


def test_after_disconnects_at_random_moments_nothing_is_held_and_the_log_is_empty(
    stack: Stack, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    moments = random.Random(5)
    pause = threading.Event()

    def hang_up(number: int) -> None:
        text = json.dumps({"name": f"{name}-{number}", "chunks": None})
        payload = json.dumps({"model": "scripted", "input": text, "response_format": "mp3"}).encode()
        head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(payload)}\r\n"
        with socket.create_connection(("127.0.0.1", stack.frontend.settings.port), timeout=60) as client:
            client.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + payload)
            pause.wait(moments.random() * 0.1)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(hang_up, range(HANG_UPS)))
    eventually(lambda: pending(stack) == 0, "no request is left")
    assert speak(stack, f"{name}-last", chunks=1).status_code == 200
    begun = {line.split()[0] for line in stack.script_log() if line.startswith(f"{name}-") and "begins" in line}
    ended = {line.split()[0] for line in stack.script_log() if line.startswith(f"{name}-") and " ends " in line}
    assert begun == ended
    gc.collect()
    assert not [record for record in caplog.records if record.levelname in {"ERROR", "CRITICAL"}]
