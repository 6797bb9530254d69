"""Streaming text: first token to first audible sample, dry playback, interruption, and many sessions at once.

    python -m bench.live [--rates 5 20 100] [--rounds 5] [--sessions 64] [--checkpoint FOLDER]

A text arrives token by token (four letters at most), as from a chat model. `websocket` sends each token at once to
`WS /v1/audio/speech/stream`; `sentences` waits for each whole sentence and posts it to `/v1/audio/speech`, one after
another. Both play what they receive in real time: a sample is heard when it has arrived and all before it have been
played. `dry`: how long playback has nothing to play, after its start. The embedded voice, or with `--checkpoint`
Qwen3-TTS with random weights, whose utterances are limited to `--seconds`.
"""

import argparse
import asyncio
import json
import re
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import numpy as np

from bench import report
from bench.stack import our_stack

TEXT: Final = (
    "Good morning, and thank you for your call. Your order left our warehouse yesterday in the afternoon. "
    "It should reach you tomorrow, some time before noon. Is there anything else that I can help you with?"
)
RATE_HZ: Final = 24_000
AUDIBLE: Final = 0.01  # of full scale
_SENTENCE: Final = re.compile(r".*?[.!?](?= )|.+$")
_ENGINE: Final = {"RUNAWAY_GUARD": "off", "HF_HUB_OFFLINE": "1", "DEVICE": "cpu"}


def tokens(text: str) -> list[str]:
    """Pieces of four letters at most, with the space before them."""
    return re.findall(r"\s*\S{1,4}", text)


@dataclass(slots=True)
class Player:
    """Plays PCM in real time, from its first byte on; all times are in seconds since `begin_s`."""

    begin_s: float
    audible_s: float | None = None
    dry_s: list[float] = field(default_factory=list)
    last_s: float = 0.0  # the last arrival
    _played_until_s: float | None = None

    def receive(self, pcm: bytes) -> None:
        """Queue what has just arrived."""
        now_s = self.last_s = time.perf_counter() - self.begin_s
        if self._played_until_s is not None and now_s > self._played_until_s:
            self.dry_s.append(now_s - self._played_until_s)
        start_s = max(now_s, self._played_until_s or 0.0)
        samples = np.frombuffer(pcm, "<i2") / 32768
        if self.audible_s is None and len(loud := np.flatnonzero(np.abs(samples) > AUDIBLE)):
            self.audible_s = start_s + loud[0] / RATE_HZ
        self._played_until_s = start_s + len(samples) / RATE_HZ


async def written(per_s: float) -> AsyncIterator[str]:
    """The text's tokens, at that rate."""
    begin_s = time.perf_counter()
    for number, token in enumerate(tokens(TEXT)):
        await asyncio.sleep(max(0.0, begin_s + number / per_s - time.perf_counter()))
        yield token


class Session:
    """One utterance over the WebSocket."""

    def __init__(self, session: aiohttp.ClientSession, url: str, config: dict[str, object]) -> None:
        self._session, self._url, self._config = session, url, config

    async def run(self, per_s: float, cancel_after_s: float | None = None) -> tuple[Player, float]:
        """Speak the text; with `cancel_after_s`, interrupt it then. Returns when the interruption was sent, too."""
        async with self._session.ws_connect(f"{self._url}/v1/audio/speech/stream", max_msg_size=0) as socket:
            await socket.send_json({"type": "session.config", "response_format": "pcm", **self._config})
            player, cancelled_s = Player(time.perf_counter()), 0.0
            writing = asyncio.create_task(self._write(socket, per_s))
            end = "session.done" if cancel_after_s is None else "audio.cancelled"
            try:
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.BINARY:
                        player.receive(message.data)
                    elif (kind := json.loads(message.data)["type"]) == "error":
                        raise RuntimeError(message.data)
                    elif kind == end:
                        break
                    if cancel_after_s is not None and player.last_s > cancel_after_s and not cancelled_s:
                        writing.cancel()
                        await socket.send_json({"type": "input.cancel"})
                        cancelled_s = time.perf_counter() - player.begin_s
                if cancel_after_s is not None:
                    player.last_s = max(player.last_s, time.perf_counter() - player.begin_s)
            finally:
                writing.cancel()
            return player, cancelled_s

    async def _write(self, socket: aiohttp.ClientWebSocketResponse, per_s: float) -> None:
        async for token in written(per_s):
            await socket.send_json({"type": "input.text", "text": token})
        await socket.send_json({"type": "input.done"})


async def by_sentence(session: aiohttp.ClientSession, url: str, config: dict[str, object], per_s: float) -> Player:
    """Each sentence posted when it is complete, one after another."""
    player, complete = Player(time.perf_counter()), asyncio.Queue[str | None]()

    async def write() -> None:
        text, expected = "", _SENTENCE.findall(TEXT)
        async for token in written(per_s):
            text += token
            if expected and text.startswith(expected[0]) and len(text) > len(expected[0]):
                complete.put_nowait(expected[0])
                text = text[len(expected.pop(0)) :]
        complete.put_nowait(text)
        complete.put_nowait(None)

    writing = asyncio.create_task(write())
    try:
        while (sentence := await complete.get()) is not None:
            body = {"input": sentence.strip(), "response_format": "pcm", **config}
            async with session.post(f"{url}/v1/audio/speech", json=body) as reply:
                reply.raise_for_status()
                rest = b""
                async for chunk in reply.content.iter_any():
                    whole = len(rest + chunk) // 2 * 2
                    player.receive((rest + chunk)[:whole])
                    rest = (rest + chunk)[whole:]
    finally:
        writing.cancel()
    return player


async def measure(url: str, config: dict[str, object], options: argparse.Namespace) -> dict[str, float]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(600)) as session:
        live = Session(session, url, config)
        await live.run(1000)  # loads the model
        return {
            **await pace(session, live, url, config, options),
            **await interruptions(live, options.rounds),
            **await many(live, options.sessions),
        }


async def pace(
    session: aiohttp.ClientSession, live: Session, url: str, config: dict[str, object], options: argparse.Namespace
) -> dict[str, float]:
    """First audible sample and dry playback of both ways, in turns."""
    figures: dict[str, float] = {}
    for per_s in options.rates:
        players: dict[str, list[Player]] = {"websocket": [], "sentences": []}
        for _ in range(options.rounds):
            players["websocket"].append((await live.run(per_s))[0])
            players["sentences"].append(await by_sentence(session, url, config, per_s))
        for way, played in players.items():
            name = f"{way}_{per_s:g}_per_s"
            figures[f"{name}_first_audible_ms"] = 1000 * statistics.median(each.audible_s or 0.0 for each in played)
            figures[f"{name}_dry_ms"] = 1000 * statistics.median(sum(each.dry_s) for each in played)
    return figures


async def interruptions(live: Session, rounds: int) -> dict[str, float]:
    """From `input.cancel` to the last message, audio or `audio.cancelled`."""
    delays_s = []
    for number in range(4 * rounds):
        player, cancelled_s = await live.run(100, cancel_after_s=0.05 * (1 + number % 8))
        delays_s.append(player.last_s - cancelled_s)
    return {"cancel_p50_ms": 1000 * statistics.median(delays_s), "cancel_max_ms": 1000 * max(delays_s)}


async def many(live: Session, sessions: int) -> dict[str, float]:
    """That many at once, 20 tokens per second each, begun within a second."""

    async def one(number: int) -> Player:
        await asyncio.sleep(number / sessions)
        return (await live.run(20))[0]

    done = await asyncio.gather(*map(one, range(sessions)), return_exceptions=True)
    played = [each for each in done if isinstance(each, Player)]
    audible_ms = [1000 * (each.audible_s or 0.0) for each in played]
    dry_ms = [1000 * sum(each.dry_s) for each in played]
    return {
        f"sessions_{sessions}_failed": float(len(done) - len(played)),
        f"sessions_{sessions}_first_audible_p50_ms": statistics.median(audible_ms),
        f"sessions_{sessions}_first_audible_p95_ms": float(np.percentile(audible_ms, 95)),
        f"sessions_{sessions}_dry_p50_ms": statistics.median(dry_ms),
        f"sessions_{sessions}_dry_p95_ms": float(np.percentile(dry_ms, 95)),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rates", type=float, nargs="+", default=[5, 20, 100], help="tokens per second")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--sessions", type=int, default=64)
    options.add_argument("--checkpoint", type=Path)
    options.add_argument("--seconds", type=float, default=4, help="of an utterance with --checkpoint")
    options.add_argument("--output", type=Path, default=report.RESULTS / "live.json")
    options = options.parse_args()
    engine = {**_ENGINE, "MODEL_ID": str(options.checkpoint.absolute())} if options.checkpoint else {}
    model = "qwen3_tts_custom_voice" if options.checkpoint else "hibari"
    config: dict[str, object] = {"model": model, "seed": 1}
    if options.checkpoint:
        config["max_new_tokens"] = round(12.5 * options.seconds)
    settings = {"IDLE_TIMEOUT": 0, "MAX_PENDING_REQUESTS": 256, "DEFAULT_MODEL": model}
    with tempfile.TemporaryDirectory() as folder, our_stack(Path(folder), engine, **settings) as ours:
        figures = asyncio.run(measure(ours.url, config, options))
    report.write(options, figures, {})
    print(report.table(("figure", "value"), figures.items()))


if __name__ == "__main__":
    main()
