"""Uploads are decoded in a separate process, and a crash affects that one upload only."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import psutil
import pytest

from openai_frontend.audio.uploads.decoding import DecoderProcess
from openai_frontend.audio.uploads.recording import ReferenceAudioError
from openai_frontend.audio.uploads.reference import clean_reference
from tests.openai_frontend.audio.signals import tone, with_soundfile
from tests.support.processes import has_ended
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

RECORDING = with_soundfile(tone(440, 2.0, 44_100), 44_100)
TIMEOUT_S = 60
Find = Callable[[], psutil.Process]


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await scenario()

    asyncio.run(in_time())


def decoders() -> set[psutil.Process]:
    """The decoders of every frontend in this process, without zombies."""
    return {
        child
        for child in psutil.Process().children()
        if not has_ended(child) and "decoder_process" in " ".join(child.cmdline())
    }


@pytest.fixture
def process() -> Find:
    """Finds the one that this test has."""
    others = decoders()

    def find() -> psutil.Process:
        [found] = decoders() - others
        return found

    return find


@asynccontextmanager
async def decoding(timeout_s: float = TIMEOUT_S, idle_s: float = TIMEOUT_S) -> AsyncGenerator[DecoderProcess, None]:
    decoder = DecoderProcess(timeout_s, idle_s)
    try:
        yield decoder
    finally:
        await decoder.aclose()


def test_recordings_are_decoded_one_after_another_in_one_process_that_ends_with_the_server(process: Find) -> None:
    async def scenario() -> None:
        async with decoding() as decoder:
            pcm = await asyncio.gather(*(decoder.decode(RECORDING) for _ in range(3)))
            assert pcm == [clean_reference(RECORDING)] * 3
            child = process()
        assert not child.is_running()

    run(scenario)


def test_the_process_has_bounds_and_no_secret(process: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS", "a-secret")

    async def scenario() -> None:
        async with decoding() as decoder:
            await decoder.decode(RECORDING)
            assert "a-secret" not in process().environ().values()
            assert process().rlimit(psutil.RLIMIT_AS)[1] <= 2**31
            assert process().rlimit(psutil.RLIMIT_NOFILE)[1] <= 16
            assert process().rlimit(psutil.RLIMIT_FSIZE)[1] == 0

    run(scenario)


def test_a_file_without_audio_is_an_error_with_the_decoders_message_and_the_process_stays(process: Find) -> None:
    async def scenario() -> None:
        async with decoding() as decoder:
            with pytest.raises(ReferenceAudioError, match="of a kind that this server does not read"):
                await decoder.decode(b"no audio at all")
            child = process()
            assert await decoder.decode(RECORDING)
            assert process() == child

    run(scenario)


def test_a_recording_that_kills_the_process_is_refused_and_the_next_one_decoded(process: Find) -> None:
    async def scenario() -> None:
        async with decoding() as decoder:
            await decoder.decode(RECORDING)
            child = process()
            child.suspend()
            decoded = asyncio.create_task(decoder.decode(RECORDING))
            await asyncio.sleep(0)
            child.kill()
            with pytest.raises(ReferenceAudioError, match="cannot be decoded"):
                await decoded
            assert await decoder.decode(RECORDING)

    run(scenario)


def test_a_recording_that_takes_too_long_is_refused_and_the_next_one_decoded(process: Find) -> None:
    async def scenario() -> None:
        async with decoding(timeout_s=8) as decoder:
            await decoder.decode(RECORDING)
            child = process()
            child.suspend()
            with pytest.raises(ReferenceAudioError, match="cannot be decoded"):
                await decoder.decode(RECORDING)
            assert not child.is_running()
            assert await decoder.decode(RECORDING)

    run(scenario)


def test_a_disconnect_leaves_no_answer_behind_for_the_next_request(process: Find) -> None:
    async def scenario() -> None:
        other = with_soundfile(tone(220, 3.0, 44_100), 44_100)
        async with decoding() as decoder:
            await decoder.decode(RECORDING)
            process().suspend()
            first = asyncio.create_task(decoder.decode(RECORDING))
            await asyncio.sleep(0)
            first.cancel()
            assert await decoder.decode(other) == clean_reference(other)

    run(scenario)


def test_the_process_ends_when_no_recording_comes(process: Find) -> None:
    async def scenario() -> None:
        async with decoding(idle_s=0) as decoder:
            await decoder.decode(RECORDING)
            child = process()
            await asyncio.to_thread(eventually, lambda: has_ended(child), "it ends")
            assert await decoder.decode(RECORDING)

    run(scenario)
