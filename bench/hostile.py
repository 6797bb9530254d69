"""The impact of hostile and faulty clients on other clients: the event loop, other keys, memory, and recovery times.

    python -m bench.hostile [--output bench/results/hostile.json]

The embedded voice and the frontend run in separate processes. While each input is sent, another process requests
`/live` repeatedly: its time beyond that on an idle server is how long the event loop was blocked.
"""

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import requests

from bench import report
from bench.stack import Running, our_stack

LONG = 100_000
KILL_MOMENTS_MS = (0, 10, 20, 30, 50, 100, 400)
_PROBE = """
import http.client, json, sys, threading, time
host, port = sys.argv[1:]
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
connection = http.client.HTTPConnection(host, int(port), timeout=300)
took_s = []
while not over.is_set():
    begin_s = time.perf_counter()
    connection.request("GET", "/live")
    connection.getresponse().read()
    took_s.append(time.perf_counter() - begin_s)
    time.sleep(0.001)
json.dump(took_s, sys.stdout)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=report.RESULTS / "hostile.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        numbers = {**loop_lag(Path(folder)), **fairness(Path(folder)), **memory(Path(folder)), **recovery(Path(folder))}
    for name, value in numbers.items():
        print(f"{name:50} {value:10.1f}")
    report.write(options, numbers, {})


def loop_lag(folder: Path) -> dict[str, float]:
    """Median and maximum time of `/live`, in ms, while each input is handled."""
    settings = {"DEFAULT_MODEL": "hibari", "IDLE_TIMEOUT": 0, "TEXT_CLEANUP": "markdown"}
    with our_stack(folder, **settings) as ours:
        speech = f"{ours.url}/v1/audio/speech"
        recording = base64.b64encode(os.urandom(10 * 2**20)).decode()
        inputs: dict[str, Callable[[], object]] = {
            "idle": lambda: time.sleep(2),
            "10 MiB of base64 as ref_audio": lambda: post(speech, {"input": "Hello.", "ref_audio": recording}),
            "14 MB of [] in an unknown field": lambda: post(speech, {"input": "Hello.", "x": [[]] * 3_600_000}),
            "8 MB as voice": lambda: post(speech, {"input": "Hello.", "voice": "a" + " " * 8_000_000 + "b)"}),
            "100,000 asterisks": lambda: post(speech, {"input": "*" * LONG}),
            "100,000 wide ligatures": lambda: post(speech, {"input": "\ufdfa" * LONG}),
            "100,000 full stops": lambda: post(speech, {"input": "." * LONG}),
            "50 disconnects in mp3 at speed 4": lambda: hang_ups(speech, 50),
        }
        post(speech, {"input": "Hello. " * 500})
        numbers = {}
        for name, send in inputs.items():
            with probing(ours) as took_s:
                for _ in range(3):
                    send()
            ordered = sorted(took_s)
            numbers[f"{name}, median ms"] = 1000 * ordered[len(ordered) // 2]
            numbers[f"{name}, longest ms"] = 1000 * ordered[-1]
        return numbers


def fairness(folder: Path) -> dict[str, float]:
    """Service of one modest key while a greedy one keeps 199 requests open and retries at once."""
    settings = {"MAX_ACTIVE_REQUESTS": 8, "MAX_PENDING_REQUESTS": 40, "API_KEYS": "greedy,modest", "IDLE_TIMEOUT": 0}
    with our_stack(folder, DEFAULT_MODEL="hibari", **settings) as ours:
        speech, text = f"{ours.url}/v1/audio/speech", {"input": "Hello there, how are you today?"}
        over, greedy = threading.Event(), [0, 0]

        def flood() -> None:
            with requests.Session() as session:
                while not over.is_set():
                    reply = session.post(speech, json=text, headers={"Authorization": "Bearer greedy"}, timeout=120)
                    greedy[reply.status_code != 200] += 1

        with ThreadPoolExecutor(199) as threads:
            running = [threads.submit(flood) for _ in range(199)]
            time.sleep(3)
            took_s = []
            served = 0
            for _ in range(14):
                begin_s = time.perf_counter()
                reply = requests.post(speech, json=text, headers={"Authorization": "Bearer modest"}, timeout=120)
                took_s.append(time.perf_counter() - begin_s)
                served += reply.status_code == 200
            over.set()
            for each in running:
                each.result()
        return {
            "modest key, served of 14": served,
            "modest key, median s": sorted(took_s)[7],
            "greedy key, served": greedy[0],
            "greedy key, refused": greedy[1],
        }


def memory(folder: Path) -> dict[str, float]:
    """Memory of the frontend, in MB: before, at most, and after 80 concurrent bodies of 14.9 MB each."""
    with our_stack(folder, DEFAULT_MODEL="hibari", IDLE_TIMEOUT=0) as ours:
        speech, frontend = f"{ours.url}/v1/audio/speech", ours.processes["frontend"]
        body = json.dumps({"input": "Hello.", "ref_audio": "A" * 14_900_000})
        post(speech, {"input": "Hello."})
        requests.post(speech, data=body, headers={"Content-Type": "application/json"}, timeout=120)
        before = frontend.memory_info().rss
        peak = [before]
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.02):
                peak.append(frontend.memory_info().rss)

        watching = threading.Thread(target=watch)
        watching.start()
        with ThreadPoolExecutor(80) as threads:
            list(threads.map(lambda _: _ignore(lambda: requests.post(speech, data=body, timeout=300)), range(80)))
        over.set()
        watching.join()
        time.sleep(3)
        return {
            "memory before, MB": before / 1e6,
            "memory at most, MB": max(peak) / 1e6,
            "memory after, MB": frontend.memory_info().rss / 1e6,
        }


def recovery(folder: Path) -> dict[str, float]:
    """Seconds from the kill of a model's process, some ms after its start, to the end of its request."""
    numbers = {}
    for moment_ms in KILL_MOMENTS_MS:
        with our_stack(folder, restarts=True, DEFAULT_MODEL="hibari", IDLE_TIMEOUT=0) as ours:
            triton = ours.processes["triton"]
            with ThreadPoolExecutor(1) as threads:
                reply = threads.submit(post, f"{ours.url}/v1/audio/speech", {"input": "Hello."})
                while not (children := [each for each in triton.children(recursive=True) if _is_hibari(each)]):
                    pass
                time.sleep(moment_ms / 1000)
                children[0].kill()
                begin_s = time.perf_counter()
                assert reply.result() == 200
                numbers[f"killed {moment_ms} ms after its start, s"] = time.perf_counter() - begin_s
    return numbers


def _is_hibari(process: psutil.Process) -> bool:
    try:
        return "/hibari/" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def post(url: str, body: object) -> int:
    return requests.post(url, json=body, timeout=300).status_code


def hang_ups(url: str, number: int) -> None:
    def hang_up(_: int) -> None:
        body = {"input": "Hello there. " * 20, "response_format": "mp3", "speed": 4.0}
        with requests.post(url, json=body, timeout=120, stream=True) as reply:
            next(reply.iter_content(1), None)

    with ThreadPoolExecutor(number) as threads:
        list(threads.map(hang_up, range(number)))


def _ignore(call: Callable[[], object]) -> None:
    try:
        call()
    except requests.RequestException:
        return


@contextmanager
def probing(ours: Running) -> Iterator[list[float]]:
    """The times of `/live`, measured by a separate process; available at the end."""
    host, _, port = ours.url.removeprefix("http://").partition(":")
    took_s: list[float] = []
    process = subprocess.Popen(
        [sys.executable, "-c", _PROBE, host, port], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    time.sleep(0.5)
    try:
        yield took_s
    finally:
        took_s += json.loads(process.communicate(b"")[0])


if __name__ == "__main__":
    main()
