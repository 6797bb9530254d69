"""Sends the requests of one load, and records their outcomes."""

import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from .arrivals import poisson_s
from .listener import Heard, Listener
from .targets import Target, TargetError

CANCELLED: Final = "cancelled"
_LAG_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Load:
    """`rate_per_s` requests a second on average, or `clients` that each send the next one when the last is done."""

    seconds: float
    rate_per_s: float = 0.0
    clients: int = 0
    seed: int = 0
    cancel_share: float = 0.0  # share of requests that are cancelled within half a second
    timeout_s: float = 120.0

    @property
    def name(self) -> str:
        """The name of the load in reports."""
        return f"{self.rate_per_s:g}/s" if self.rate_per_s else f"{self.clients} clients"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one request: `failure` is empty for a complete reply."""

    sent_s: float
    late_s: float  # sent late by the load generator
    took_s: float
    heard: Heard
    failure: str = ""


@dataclass(slots=True)
class Traffic:
    """The outcomes of a load."""

    outcomes: list[Outcome] = field(default_factory=list)
    peak_in_flight: int = 0
    wall_s: float = 0.0
    lags_s: list[float] = field(default_factory=list)  # delay of the load generator's event loop


class Driver:
    """Runs one load against one target."""

    def __init__(self, target: Target, prompts: Sequence[str], load: Load) -> None:
        self._target, self._prompts, self._load = target, prompts, load
        self._chance = random.Random(load.seed)
        self._traffic = Traffic()
        self._in_flight = 0

    async def run(self) -> Traffic:
        """Run until the end of the load and the last reply."""
        # The target limits connections, not the load generator.
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as self._session:
            self._begin_s = time.perf_counter()
            watch = asyncio.create_task(self._watch())
            try:
                await (self._open_loop() if self._load.rate_per_s else self._closed_loop())
            finally:
                watch.cancel()
            self._traffic.wall_s = self._now_s()
        return self._traffic

    async def _open_loop(self) -> None:
        async with asyncio.TaskGroup() as requests:
            for at_s in poisson_s(self._load.rate_per_s, self._load.seconds, self._load.seed):
                await asyncio.sleep(max(0.0, at_s - self._now_s()))
                requests.create_task(self._request(at_s))

    async def _closed_loop(self) -> None:
        async def client() -> None:
            while self._now_s() < self._load.seconds:
                await self._request(self._now_s())

        async with asyncio.TaskGroup() as clients:
            for _ in range(self._load.clients):
                clients.create_task(client())

    async def _request(self, due_s: float) -> None:
        text = self._chance.choice(self._prompts)
        hang_up_s = self._chance.uniform(0, 0.5) if self._chance.random() < self._load.cancel_share else None
        listener = Listener(self._target.audio_format)
        self._in_flight += 1
        self._traffic.peak_in_flight = max(self._traffic.peak_in_flight, self._in_flight)
        sent_s, failure = self._now_s(), ""
        try:
            async with asyncio.timeout(self._load.timeout_s if hang_up_s is None else hang_up_s):
                await self._listen(text, listener, sent_s)
        except TimeoutError:
            failure = "timeout" if hang_up_s is None else CANCELLED
        except TargetError as error:
            failure = error.kind
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure = type(error).__name__
        finally:
            self._in_flight -= 1
        if not failure and listener.heard().first_byte_s is None:
            failure = "no audio"
        took_s = self._now_s() - sent_s
        self._traffic.outcomes.append(Outcome(sent_s, sent_s - due_s, took_s, listener.heard(), failure))

    async def _listen(self, text: str, listener: Listener, sent_s: float) -> None:
        async with aclosing(self._target.speak(self._session, text)) as pieces:
            async for piece in pieces:
                listener.take(piece, self._now_s() - sent_s)

    async def _watch(self) -> None:
        while True:
            begin_s = self._now_s()
            await asyncio.sleep(_LAG_POLL_S)
            self._traffic.lags_s.append(self._now_s() - begin_s - _LAG_POLL_S)

    def _now_s(self) -> float:
        return time.perf_counter() - self._begin_s


async def warm_up(target: Target, prompts: Iterable[str], timeout_s: float) -> None:
    """One request, which may load a model. Raises TargetError if it fails."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as session,
        aclosing(target.speak(session, next(iter(prompts)))) as pieces,
    ):
        async for _ in pieces:
            pass
