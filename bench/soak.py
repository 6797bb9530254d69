"""Soak test: mixed traffic for minutes, with failures and memory growth.

    make soak MINUTES=20
    python -m bench.soak [--minutes 20] [--workers 6] [--output out/soak.json]

A real tritonserver with the embedded voice and tiny Qwen3-TTS checkpoints, and the frontend in a separate process.
Workers synthesize in every format and length, clone, read events, disconnect at random moments, send invalid requests,
read lists, and pause until models are idle and unloaded. A reply with an unexpected status is a failure. Memory, files
and threads are measured after a warm-up of a fifth of the time, and at the end, each time after all requests have ended
and every model is unloaded. Exits with 1 if something failed.
"""

import argparse
import asyncio
import io
import json
import os
import random
import sys
import tempfile
import time
import wave
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil

from bench.stack import our_stack
from speech_protocol.models import QWEN3_TTS
from tests.support.checkpoints import build_checkpoint

IDLE_S = 4.0
QUIET_S = 90.0
FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
SENTENCES = (
    "Hello there.",
    "The quick brown fox jumps over the lazy dog.",
    "It rained all night. In the morning, it stopped.",
)
# Invalid bodies, with the expected status.
REFUSED: tuple[tuple[dict[str, Any], int], ...] = (
    ({"input": ""}, 400),
    ({"input": "Hi.", "voice": "nobody"}, 400),
    ({"input": "Hi.", "model": "nothing"}, 404),
    ({"input": "Hi.", "speed": 9}, 400),
    ({"input": "Hi.", "response_format": "x"}, 400),
    ({"input": "[pause:1s]"}, 400),
    ({"input": 5}, 400),
)


class Traffic:
    """Requests of one client session, counted by kind and outcome."""

    def __init__(self, session: aiohttp.ClientSession, url: str, seed: int) -> None:
        self._session, self._url = session, url
        self._choice = random.Random(seed)
        self.outcomes: Counter[str] = Counter()
        self.failures: list[str] = []

    async def work(self, until_s: float) -> None:
        kinds: tuple[Callable[[], Awaitable[None]], ...] = (
            self.speak, self.speak, self.speak_qwen, self.listen, self.clone, self.hang_up, self.hang_up, self.refused,
            self.look, self.pause,
        )  # fmt: skip
        while time.monotonic() < until_s:
            kind = self._choice.choice(kinds)
            try:
                await kind()
                self.outcomes[f"{kind.__name__}: as it must be"] += 1
            except (aiohttp.ClientError, TimeoutError, AssertionError) as error:
                self.outcomes[f"{kind.__name__}: failed"] += 1
                self.failures.append(f"{kind.__name__}: {type(error).__name__}: {error}"[:300])

    async def speak(self) -> None:
        text = " ".join(self._choice.choices(SENTENCES, k=self._choice.choice((1, 1, 2, 30))))
        speed = self._choice.choice((1.0, 1.0, 0.5, 2.0))
        await self._post({"model": "hibari", "input": text, "response_format": self._format(), "speed": speed}, 200)

    async def speak_qwen(self) -> None:
        body = {"voice": self._choice.choice(("alloy", "onyx", "vivian")), "response_format": self._format()}
        await self._post(
            {"input": self._choice.choice(SENTENCES), "max_new_tokens": self._choice.randint(1, 60), **body}, 200
        )

    async def listen(self) -> None:
        data = await self._post({"model": "hibari", "input": SENTENCES[1], "stream_format": "sse"}, 200)
        assert b"speech.audio.done" in data, data[-200:]

    async def clone(self) -> None:
        form = aiohttp.FormData({"input": SENTENCES[0], "response_format": self._format()})
        form.add_field("ref_audio", recording(self._choice.uniform(90, 250)), filename="voice.wav")
        async with self._session.post(f"{self._url}/v1/audio/speech/clone", data=form) as reply:
            await self._expect(reply, 200)

    async def hang_up(self) -> None:
        body = {
            "model": self._choice.choice(("hibari", "tts-1")),
            "input": " ".join(SENTENCES * 5),
            "response_format": self._format(),
        }
        try:
            async with asyncio.timeout(self._choice.uniform(0.0, 0.5)):
                await self._post(body, 200)
        except TimeoutError:
            pass

    async def refused(self) -> None:
        body, status = self._choice.choice(REFUSED)
        await self._post(body, status)

    async def look(self) -> None:
        for path in ("/health", "/ready", "/v1/models", "/v1/audio/voices"):
            async with self._session.get(self._url + path) as reply:
                await self._expect(reply, 200)

    async def pause(self) -> None:
        await asyncio.sleep(self._choice.uniform(0, 2 * IDLE_S))

    def _format(self) -> str:
        return self._choice.choice(FORMATS)

    async def _post(self, body: dict[str, Any], status: int) -> bytes:
        async with self._session.post(f"{self._url}/v1/audio/speech", json=body) as reply:
            return await self._expect(reply, status)

    @staticmethod
    async def _expect(reply: aiohttp.ClientResponse, status: int) -> bytes:
        data = await reply.read()
        assert reply.status == status, f"{reply.status} in place of {status}: {data[:200]!r}"
        assert data, "no body"
        return data


def recording(hz: float) -> bytes:
    """Two seconds of voice-like sound."""
    time_s = np.arange(2 * 24_000) / 24_000
    tone = sum(np.sin(2 * np.pi * hz * n * time_s) / n for n in range(1, 6)) * np.hanning(len(time_s))
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 24_000, 0, "NONE", ""))
        out.writeframes((0.2 * tone * 32_767).astype("<i2").tobytes())
    return file.getvalue()


def weigh(processes: dict[str, psutil.Process]) -> dict[str, dict[str, int]]:
    """The memory of each process, and files in shared memory."""
    children = {f"child {child.name()}": child for child in processes["frontend"].children()}  # decodes uploads
    weights = {
        name: {"rss_bytes": each.memory_info().rss, "files": each.num_fds(), "threads": each.num_threads()}
        for name, each in {**processes, **children}.items()
    }
    stubs = len(processes["triton"].children(recursive=True))
    return {**weights, "machine": {"shared_memory_files": len(os.listdir("/dev/shm")), "model_processes": stubs}}


async def quiet(session: aiohttp.ClientSession, url: str) -> None:
    """Wait until no request is left and every model is unloaded."""
    async with asyncio.timeout(QUIET_S):
        while True:
            async with session.get(f"{url}/health") as reply:
                health = await reply.json()
            states = {model["state"] for model in health["models"].values()}
            if not health["pending_requests"] and not states & {"ready", "loading", "unloading"}:
                return
            await asyncio.sleep(0.5)


async def soak(url: str, processes: dict[str, psutil.Process], minutes: float, workers: int) -> dict[str, Any]:
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        crowd = [Traffic(session, url, seed) for seed in range(workers)]
        weights = []
        for share in (0.2, 0.8):
            until_s = time.monotonic() + 60 * minutes * share
            await asyncio.gather(*(each.work(until_s) for each in crowd))
            await quiet(session, url)
            weights.append(weigh(processes))
            print(json.dumps(weights[-1]), flush=True)
    outcomes = sum((each.outcomes for each in crowd), Counter[str]())
    failures = [failure for each in crowd for failure in each.failures]
    return {
        "outcomes": dict(sorted(outcomes.items())),
        "failures": failures,
        "after_warm_up": weights[0],
        "end": weights[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--output", type=Path, default=Path("out/soak.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = {
            spec.checkpoint_variable: str(build_checkpoint(Path(folder) / spec.name, str(spec.task), "tiny", False))
            for spec in QWEN3_TTS
        }
        engine = {**checkpoints, "HF_HUB_OFFLINE": "1", "DEVICE": "cpu", "OMP_NUM_THREADS": "1", "RUNAWAY_GUARD": "off"}
        with our_stack(Path(folder), engine, IDLE_TIMEOUT=IDLE_S) as running:
            result = asyncio.run(soak(running.url, dict(running.processes), options.minutes, options.workers))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    sys.exit(bool(result["failures"]))


if __name__ == "__main__":
    main()
