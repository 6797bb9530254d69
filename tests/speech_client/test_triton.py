"""The HTTP client of Triton, over a socket: streams that end, are cut off and are abandoned, and Triton's own
messages."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing

import pytest

from speech_client.triton import Message, ModelState, Triton, UnreachableError
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import AudioEvent, EndEvent, StartEvent
from speech_protocol.request import SpeechRequest
from tests.support.fake_triton import FakeTriton
from tests.support.waiting import eventually

LIMIT_S = 30  # longer than any of these takes
MODEL = "voice"


@pytest.fixture
def fake() -> Iterator[FakeTriton]:
    with FakeTriton(MODEL, loaded=True) as running:
        yield running


def with_triton(url: str, work: Callable[[Triton], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(LIMIT_S), Triton(url, LIMIT_S) as triton:
            await work(triton)

    asyncio.run(run())


async def spoken(triton: Triton, script: str) -> list[Message]:
    return [message async for message in triton.speak(MODEL, SpeechRequest(script))]


def test_a_stream_is_a_start_audio_and_an_end(fake: FakeTriton) -> None:
    async def work(triton: Triton) -> None:
        messages = await spoken(triton, '{"chunks": 3}')
        assert [type(message.event) for message in messages] == [StartEvent, *[AudioEvent] * 3, EndEvent]
        assert all(len(message.pcm) == 2 * message.event.samples for message in messages[1:-1])

    with_triton(fake.url, work)


def test_a_stream_that_stops_without_an_end_is_an_error(fake: FakeTriton) -> None:
    async def work(triton: Triton) -> None:
        with pytest.raises(SpeechError, match="stopped during an utterance") as error:
            await spoken(triton, '{"chunks": 3, "cut_after": 2}')
        assert error.value.code is ErrorCode.MODEL_UNAVAILABLE

    with_triton(fake.url, work)


def test_an_error_event_keeps_its_code(fake: FakeTriton) -> None:
    async def work(triton: Triton) -> None:
        for script in ('{"error": "queue_full"}', '{"chunks": 3, "fail_after": 2}'):
            with pytest.raises(SpeechError) as error:
                await spoken(triton, script)
            codes.append(error.value.code)

    codes: list[ErrorCode] = []
    with_triton(fake.url, work)
    assert codes == [ErrorCode.QUEUE_FULL, ErrorCode.ENGINE_FAILURE]


def test_leaving_a_stream_ends_the_request(fake: FakeTriton) -> None:
    async def work(triton: Triton) -> None:
        async with aclosing(triton.speak(MODEL, SpeechRequest('{"chunks": null}'))) as messages:
            await anext(messages)
            await anext(messages)
            assert await triton.requests_of(MODEL) == 1
        await asyncio.to_thread(eventually, lambda: fake.active == 0, "the request ends")

    with_triton(fake.url, work)


def test_a_connection_that_is_cut_and_a_triton_that_is_away_are_unreachable(fake: FakeTriton) -> None:
    async def work(triton: Triton) -> None:
        with pytest.raises(UnreachableError):
            await spoken(triton, "Hello.")
        assert await triton.process_of(MODEL) == ""  # no answer is no crash

    fake.resets = True
    with_triton(fake.url, work)
    with_triton("http://127.0.0.1:9", work)


def test_the_index_tells_an_unload_from_a_failure(fake: FakeTriton) -> None:
    fake.states.update(other="UNAVAILABLE", broken="UNAVAILABLE", leaving="UNLOADING")
    fake.load_errors["broken"] = "no such folder"

    async def work(triton: Triton) -> None:
        index = await triton.index()
        states = {name: status.state for name, status in index.items()}
        expected = [ModelState.READY, ModelState.UNLOADED, ModelState.FAILED, ModelState.UNLOADING]
        assert states == dict(zip((MODEL, "other", "broken", "leaving"), expected, strict=True))
        assert index["broken"].reason == "no such folder"
        assert triton.last_index == index

    with_triton(fake.url, work)


def test_when_a_model_was_last_used_and_whether_triton_lives(fake: FakeTriton) -> None:
    async def work(triton: Triton) -> None:
        assert await triton.is_live()
        fake.last_inference_ms = 1234
        assert await triton.last_inference_ms(MODEL) == 1234

    async def gone(triton: Triton) -> None:
        assert not await triton.is_live()

    with_triton(fake.url, work)
    with_triton("http://127.0.0.1:9", gone)
