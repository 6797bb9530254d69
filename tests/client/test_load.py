"""The load tester's figures, against a scripted server: known waits, gaps, refusals and aborts."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from aiohttp import web

from client.load.arrivals import poisson_s
from client.load.figures import figures, spread
from client.load.listener import Listener
from client.load.targets import OpenAITarget
from client.load.traffic import Driver, Load, Traffic
from speech_protocol.audio import SAMPLE_RATE_HZ

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
TIMEOUT_S = 30


def pcm(seconds: float, level: int = 8_000) -> bytes:
    return np.full(round(seconds * SAMPLE_RATE_HZ), level, "<i2").tobytes()


def heard(*pieces: tuple[float, bytes], audio_format: str = "pcm") -> Listener:
    listener = Listener(audio_format)
    for at_s, data in pieces:
        listener.take(data, at_s)
    return listener


def test_the_first_audible_sample_is_not_the_first_one_where_a_reply_begins_with_silence() -> None:
    found = heard((0.2, pcm(0.1, 0)), (0.25, pcm(0.1, 3) + pcm(0.1))).heard()
    assert found.first_byte_s == 0.2
    assert found.leading_silence_s == pytest.approx(0.2)
    # The player began at 0.2 s and had silence to play for as long.
    assert found.first_audible_s == pytest.approx(0.4)
    assert found.audio_s == pytest.approx(0.3)
    assert found.underruns == 0


def test_a_piece_that_comes_after_the_player_ran_dry_is_a_gap_as_long_as_the_wait() -> None:
    found = heard((1.0, pcm(0.5)), (1.4, pcm(0.1)), (1.9, pcm(0.1)), (2.3, pcm(0.1))).heard()
    # Dry at 1.6, next piece at 1.9; dry at 2.0, next piece at 2.3.
    assert found.underruns == 2
    assert found.underrun_s == pytest.approx(0.6)


def test_pieces_may_be_cut_anywhere_and_a_wav_begins_with_its_header() -> None:
    body = b"h" * 44 + pcm(0.01)
    whole = heard((0.1, body), audio_format="wav").heard()
    bytewise = heard(*((0.1, body[at : at + 1]) for at in range(len(body))), audio_format="wav").heard()
    assert bytewise == whole
    assert whole.audio_s == pytest.approx(0.01)


def test_other_formats_are_timed_and_not_listened_to() -> None:
    found = heard((0.3, b"ID3"), (0.9, b"..."), audio_format="mp3").heard()
    assert (found.first_byte_s, found.first_audible_s, found.audio_s, found.underruns) == (0.3, None, None, 0)


def test_arrivals_come_at_their_rate_and_are_the_same_for_a_seed() -> None:
    arrivals = list(poisson_s(50, 100, seed=3))
    assert arrivals == list(poisson_s(50, 100, seed=3)) != list(poisson_s(50, 100, seed=4))
    assert arrivals == sorted(arrivals)
    assert len(arrivals) == pytest.approx(5_000, rel=0.05)
    # Of a Poisson process: as many gaps are longer than the mean as e to the -1.
    gaps = np.diff(arrivals)
    assert np.mean(gaps > gaps.mean()) == pytest.approx(np.exp(-1), abs=0.03)


def test_percentiles_are_of_what_is_there() -> None:
    assert spread([None, *(n / 100 for n in range(1, 102))])["p50"] == pytest.approx(0.51)
    assert spread([None]) == {"p50": None, "p95": None, "p99": None}


@asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[OpenAITarget, None]:
    app = web.Application()
    app.router.add_post("/v1/audio/speech", handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield OpenAITarget(f"http://{host}:{port}", "scripted", "m", "v")
    finally:
        await runner.cleanup()


def drive(handler: Handler, load: Load) -> Traffic:
    async def scenario() -> Traffic:
        async with asyncio.timeout(TIMEOUT_S), serving(handler) as target:
            return await Driver(target, ("Hello.",), load).run()

    return asyncio.run(scenario())


async def reply(request: web.Request, *pieces: tuple[float, bytes]) -> web.StreamResponse:
    """Each piece after its number of seconds."""
    response = web.StreamResponse()
    await response.prepare(request)
    for wait_s, data in pieces:
        await asyncio.sleep(wait_s)
        await response.write(data)
    await response.write_eof()
    return response


def test_waits_and_gaps_of_a_server_are_found() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return await reply(request, (0.2, pcm(0.1)), (0.4, pcm(0.1)))

    found = figures(drive(handler, Load(0.5, clients=2)))
    assert found["served"] == found["requests"] >= 2
    assert found["failures"] == {}
    assert found["ttfa_s"]["p50"] >= 0.2
    assert found["end_to_end_s"]["p50"] >= 0.6
    assert found["underruns"] == found["underrun_requests"] == found["served"]
    assert found["underrun_s"] >= 0.25 * found["served"]
    assert found["audio_s"] == pytest.approx(0.2 * found["served"])
    assert found["x"] == pytest.approx(found["audio_s"] / found["wall_s"])


def test_refusals_drops_and_empty_replies_are_counted_by_kind_and_are_no_times() -> None:
    counts = {"refused": 0, "dropped": 0, "empty": 0, "good": 0}

    async def handler(request: web.Request) -> web.StreamResponse:
        kind = min(counts, key=lambda name: counts[name])
        counts[kind] += 1
        if kind == "refused":
            return web.Response(status=503, text="full")
        if kind == "empty":
            return web.Response()
        if kind == "good":
            return await reply(request, (0.0, pcm(0.1)))
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(pcm(0.1))
        assert request.transport is not None
        request.transport.abort()
        return response

    found = figures(drive(handler, Load(0.3, clients=1)))
    failures = found["failures"]
    assert found["served"] == counts["good"]
    assert failures["status 503"] == counts["refused"]
    assert failures["no audio"] == counts["empty"]
    assert sum(failures.values()) == counts["refused"] + counts["empty"] + counts["dropped"]
    assert found["refusal_s"]["p50"] is not None


def test_arrivals_do_not_wait_for_each_other_and_cancellations_are_not_failures() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        with contextlib.suppress(ConnectionError):
            return await reply(request, (0.0, pcm(0.1)), (2.0, pcm(0.1)))
        return web.Response()

    found = figures(drive(handler, Load(0.5, rate_per_s=40, cancel_share=0.5)))
    assert found["peak_in_flight"] > 5
    assert found["cancelled"] > 0
    assert found["served"] > 0
    assert found["served"] + found["cancelled"] == found["requests"]
    assert found["failures"] == {}


def test_a_reply_that_never_comes_is_a_timeout() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(TIMEOUT_S)
        return web.Response()

    found = figures(drive(handler, Load(0.1, clients=1, timeout_s=0.2)))
    assert found["failures"] == {"timeout": found["requests"]}


def test_a_tester_that_is_late_itself_says_so() -> None:
    late = Traffic(lags_s=[0.001] * 98 + [0.4, 0.4], wall_s=1.0)
    assert figures(late)["tester_is_the_bottleneck"]
    assert not figures(Traffic(lags_s=[0.001] * 100, wall_s=1.0))["tester_is_the_bottleneck"]
