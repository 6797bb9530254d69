"""Replies that carry speech as it is made: plain bytes, or server-sent events.

The status line goes out with the first audio, never before it. A client that hangs up, before or after, frees its
place.
"""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing, suppress
from typing import Any, Literal, TypeVar

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from openai_frontend.audio.formats import AudioFormat
from openai_frontend.errors import sse_error
from openai_frontend.synthesis import Body, SegmentStart
from speech_protocol.audio import FRAME_SAMPLES
from speech_protocol.events import EndEvent

StreamFormat = Literal["audio", "sse"]
T = TypeVar("T")


class SpeechResponse(StreamingResponse):
    """Streams a body and closes it, whatever ends the reply."""

    def __init__(
        self, body: Body, audio_format: AudioFormat, stream_format: StreamFormat, *, tells_segments: bool = False
    ) -> None:
        self._body = body
        if stream_format == "sse":
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            super().__init__(_events(body, tells_segments), media_type="text/event-stream", headers=headers)
        else:
            name = f'attachment; filename="speech.{audio_format.extension}"'
            headers = {"Content-Disposition": name, "X-Accel-Buffering": "no"}
            super().__init__(_pieces(body), media_type=audio_format.content_type, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._body):
            await super().__call__(scope, receive, send)


async def respond(
    request: Request,
    opening: Awaitable[Body],
    audio_format: AudioFormat,
    stream_format: StreamFormat,
    *,
    tells_segments: bool = False,
) -> Response:
    """Wait for the body's first audio, unless the client hangs up first, and answer with it. `tells_segments`: an event
    stream says where segments begin."""
    body = await unless_gone(request, opening)
    if body is None:
        return Response(status_code=499)  # nobody reads it; the server's log shows why there was no audio
    return SpeechResponse(body, audio_format, stream_format, tells_segments=tells_segments)


async def unless_gone(request: Request, opening: Awaitable[T]) -> T | None:
    """What is waited for, or None as soon as the client is gone; nothing is left running either way."""
    work = asyncio.ensure_future(opening)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        for task in (gone, work):
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
            elif not task.cancelled():
                task.exception()  # seen: asyncio reports those that nobody has looked at


async def _disconnected(request: Request) -> None:
    # The request's body was read whole, so what comes next is the disconnect. A client that only closes its sending
    # side has not disconnected: see http_protocol.
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _pieces(body: Body) -> AsyncGenerator[bytes, None]:
    async for encoded in body:
        if encoded.data:
            yield encoded.data


async def _events(body: Body, tells_segments: bool) -> AsyncGenerator[bytes, None]:
    """OpenAI's events: the pieces, which concatenate to one valid file, then the usage. Ours, before a piece: the
    segments that begin in it."""
    try:
        async for encoded in body:
            if tells_segments and encoded.begun:
                yield _event("speech.audio.timestamps", segments=[_segment(start) for start in encoded.begun])
            if encoded.data:
                yield _event("speech.audio.delta", audio=base64.b64encode(encoded.data).decode())
            if encoded.end is not None:
                yield _event("speech.audio.done", usage=_usage(encoded.end), **_warnings(encoded.end))
    except Exception as error:  # noqa: BLE001 - logged where it is unforeseen
        # The status is sent already: inside a stream of events, an error is one more event.
        yield sse_error(error)


def _event(kind: str, **fields: object) -> bytes:
    return f"data: {json.dumps({'type': kind, **fields})}\n\n".encode()


def _segment(segment: SegmentStart) -> dict[str, Any]:
    place = segment.place
    return {"id": place.number, "count": place.count, "start": round(segment.start_s, 3), "text": place.text}


def _warnings(end: EndEvent) -> dict[str, list[str]]:
    """Ours, and only where something is to be said."""
    return {"warnings": list(end.warnings)} if end.warnings else {}


def _usage(end: EndEvent) -> dict[str, int]:
    """Text tokens in, codec frames of 80 ms out."""
    frames = -(-end.audio_samples // FRAME_SAMPLES)
    return {"input_tokens": end.text_tokens, "output_tokens": frames, "total_tokens": end.text_tokens + frames}
