"""The Wyoming protocol, with its own client: whole texts, texts in pieces, and peers that violate it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event, async_write_event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeStopped, SynthesizeVoice

from local_stack.triton_process import free_port
from speech_protocol.audio import SAMPLE_RATE_HZ
from tests.support.listening import decode, transcribe, word_error_rate, words
from tests.support.stack import Frontend, Stack
from tests.support.waiting import eventually

TEXT = "The children are playing in the garden. Winter was late, and the river stayed open."
WAIT_S = 60
T = TypeVar("T")


@pytest.fixture(scope="module")
def frontend(stack: Stack) -> Iterator[Frontend]:
    settings = {"default_model": "hibari", "idle_timeout": 0, "wyoming_port": free_port(), "live_idle_timeout": 2}
    with Frontend(triton_url=stack.triton.url, **settings) as running:
        yield running


def run(scenario: Callable[[], Awaitable[T]]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(WAIT_S):
            return await scenario()

    return asyncio.run(bounded())


@asynccontextmanager
async def connected(frontend: Frontend) -> AsyncIterator[AsyncTcpClient]:
    async with AsyncTcpClient("127.0.0.1", frontend.settings.wyoming_port) as client:
        yield client


async def read(client: AsyncTcpClient) -> Event:
    event = await client.read_event()
    assert event is not None, "the server has closed the connection"
    return event


async def heard(client: AsyncTcpClient) -> bytes:
    """The audio of the next utterance."""
    pcm = b""
    start = AudioStart.from_event(await read(client))
    assert (start.rate, start.width, start.channels) == (SAMPLE_RATE_HZ, 2, 1)
    while not AudioStop.is_type((event := await read(client)).type):
        pcm += AudioChunk.from_event(event).audio
    return pcm


def check_words(pcm: bytes, text: str) -> None:
    assert word_error_rate(transcribe(decode(pcm, "pcm")), words(text)) <= 0.25


def test_the_voices_and_that_text_may_be_streamed_are_described(frontend: Frontend) -> None:
    async def scenario() -> Info:
        async with connected(frontend) as client:
            await client.write_event(Describe().event())
            return Info.from_event(await read(client))

    [program] = run(scenario).tts
    assert program.supports_synthesize_streaming
    by_name = {voice.name: voice for voice in program.voices}
    assert by_name["alloy"].languages == ["en"]


def test_a_text_is_spoken_and_the_next_one_after_it(frontend: Frontend) -> None:
    async def scenario() -> list[bytes]:
        async with connected(frontend) as client:
            for _ in range(2):
                await client.write_event(Synthesize(TEXT, voice=SynthesizeVoice(name="alloy")).event())
            return [await heard(client), await heard(client)]

    for pcm in run(scenario):
        check_words(pcm, TEXT)


def test_a_text_in_pieces_is_heard_before_its_end_and_whole(frontend: Frontend) -> None:
    async def scenario() -> bytes:
        async with connected(frontend) as client:
            await client.write_event(SynthesizeStart(voice=SynthesizeVoice(name="alloy")).event())
            pieces = [TEXT[at : at + 7] for at in range(0, len(TEXT), 7)]
            for piece in pieces[:-1]:
                await client.write_event(SynthesizeChunk(piece).event())
            start, first = await read(client), await read(client)  # while the text is open
            assert AudioStart.is_type(start.type)
            await client.write_event(SynthesizeChunk(pieces[-1]).event())
            await client.write_event(Synthesize(TEXT).event())  # for servers without streaming: ignored
            await client.write_event(SynthesizeStop().event())
            pcm = AudioChunk.from_event(first).audio
            while not AudioStop.is_type((event := await read(client)).type):
                pcm += AudioChunk.from_event(event).audio
            assert SynthesizeStopped.is_type((await read(client)).type)
            return pcm

    check_words(run(scenario), TEXT)


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([Synthesize("Hello.", voice=SynthesizeVoice(name="nobody")).event()], "unknown_speaker"),
        ([Synthesize("...").event()], "empty_input"),
        ([SynthesizeChunk("Hello.").event()], "invalid_value"),
        ([SynthesizeStart().event(), SynthesizeStart().event()], "invalid_value"),
        ([SynthesizeStart().event(), SynthesizeChunk("x " * 60_000).event()], "string_above_max_length"),
        ([SynthesizeStart().event()], "request_timeout"),  # and nothing more
        ([Event("synthesize", {"text": 5})], "missing_required_parameter"),
    ],
)
def test_what_cannot_be_spoken_is_an_error_and_the_connection_goes_on(
    frontend: Frontend, events: list[Event], code: str
) -> None:
    async def scenario() -> str | None:
        async with connected(frontend) as client:
            for event in events:
                await client.write_event(event)
            while not Error.is_type((event := await read(client)).type):
                pass
            error = Error.from_event(event).code
            await client.write_event(Ping("still here").event())
            while not Pong.is_type((event := await read(client)).type):
                pass
            return error

    assert run(scenario) == code


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b"{}\n", b'{"type": "ping", "data_length": 99999999}\n', b"x" * 100_000],
    ids=["HTTP", "a list", "no type", "too much data", "a long line"],
)
def test_a_peer_that_violates_the_protocol_gets_an_error_and_is_disconnected(frontend: Frontend, data: bytes) -> None:
    async def scenario() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", frontend.settings.wyoming_port)
        writer.write(data)
        received = await reader.read()
        writer.close()
        return received

    line = run(scenario).splitlines()[0]
    assert json.loads(line)["type"] == "error"


def test_a_client_that_disconnects_leaves_nothing_behind(frontend: Frontend) -> None:
    async def scenario() -> None:
        for _ in range(20):
            async with connected(frontend) as client:
                await client.write_event(Synthesize(TEXT * 20).event())
                await read(client)

    run(scenario)
    eventually(lambda: frontend.health()["pending_requests"] == 0, "every request is cancelled")


def test_a_client_that_reads_nothing_is_given_up(stack: Stack) -> None:
    port = free_port()
    settings = {"default_model": "hibari", "idle_timeout": 0, "wyoming_port": port, "send_timeout": 1}
    with Frontend(triton_url=stack.triton.url, **settings) as frontend:

        async def scenario() -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.transport.pause_reading()
            await async_write_event(Synthesize(TEXT * 200).event(), writer)
            await asyncio.to_thread(eventually, lambda: frontend.health()["pending_requests"] == 1, "it has begun")
            await asyncio.to_thread(eventually, lambda: frontend.health()["pending_requests"] == 0, "it is given up")
            writer.transport.abort()

        run(scenario)
