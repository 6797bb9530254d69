"""Speech straight from a model of Triton, as it is made. Closing the stream cancels the request in the engine, which
`speech_batch` cannot; and where the model's process dies, that is noticed, while Triton ends no stream for it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import aiohttp

from speech_protocol.control import headers
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import EndEvent, Event, StartEvent
from speech_protocol.request import SpeechRequest
from speech_protocol.stream import EventLines, error_from_triton, error_of_body, read_response

_PROBE: Final = SpeechRequest("")  # which every model refuses at once
_SILENCE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Spoken:
    """A whole utterance: PCM (s16le, mono, 24 kHz), its end event, and the checkpoint that spoke."""

    pcm: bytes
    end: EndEvent
    checkpoint: str


async def stream(
    session: aiohttp.ClientSession, url: str, model: str, request: SpeechRequest, control_key: str = ""
) -> AsyncGenerator[tuple[Event, bytes], None]:
    """Each event, and PCM (s16le, mono, 24 kHz) with audio ones. Raises SpeechError and aiohttp.ClientError."""
    lines = EventLines()
    address, key = f"{url}/v2/models/{model}/generate_stream", headers(control_key)
    async with session.post(address, json=request.to_tensors(), headers=key) as reply:
        if reply.status != 200:
            raise error_from_triton(error_of_body(await reply.text()), model)
        async for piece in reply.content.iter_any():
            for data in lines.feed(piece):
                yield read_response(data, model)


async def whole(
    session: aiohttp.ClientSession, url: str, model: str, request: SpeechRequest, control_key: str = ""
) -> Spoken:
    """A whole utterance. Raises as `stream`, MODEL_DIED within seconds of the process's end."""
    pcm = bytearray()
    checkpoint = ""
    async with aclosing(stream(session, url, model, request, control_key)) as messages:

        async def check_alive() -> None:
            await _check_alive(session, url, model, control_key)

        while message := await _next(messages, check_alive):
            event, audio = message
            pcm += audio
            if isinstance(event, StartEvent):
                checkpoint = event.checkpoint
            elif isinstance(event, EndEvent):
                return Spoken(bytes(pcm), event, checkpoint)
    raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, f"'{model}' stopped in the middle of an utterance.")


async def _next(
    messages: AsyncGenerator[tuple[Event, bytes], None], check_alive: Callable[[], Awaitable[None]]
) -> tuple[Event, bytes] | None:
    """The next message, None after the last one. While none comes, the process is asked whether it lives."""
    coming = asyncio.ensure_future(anext(messages, None))
    try:
        while not (await asyncio.wait((coming,), timeout=_SILENCE_S))[0]:
            await check_alive()
        return coming.result()
    finally:
        if not coming.done():
            coming.cancel()
            await asyncio.wait((coming,))
        if not coming.cancelled():
            coming.exception()  # retrieved, so that asyncio does not log it


async def _check_alive(session: aiohttp.ClientSession, url: str, model: str, control_key: str) -> None:
    try:
        probe = stream(session, url, model, _PROBE, control_key)
        async with asyncio.timeout(_SILENCE_S), aclosing(probe) as messages:
            async for _ in messages:
                pass
    except TimeoutError:
        pass  # a busy process may be late
    except SpeechError as error:
        if error.code is ErrorCode.MODEL_DIED:
            raise
