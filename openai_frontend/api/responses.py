"""Replies that stream speech: plain bytes, or server-sent events.

The status line is sent with the first audio, never before. A client that disconnects, before or after, cancels its
request.
"""

import base64
import json
from collections.abc import AsyncGenerator, Awaitable, Collection
from contextlib import aclosing
from typing import Any, Final, Literal, TypeVar

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from openai_frontend.api.bodies.disconnect import unless_disconnected
from openai_frontend.api.outcomes import Outcome, Outcomes, summary
from openai_frontend.audio.formats import AudioFormat
from openai_frontend.errors import sse_error
from openai_frontend.synthesis.body import Body, Encoded, SegmentStart, WordTime

StreamFormat = Literal["audio", "sse"]
T = TypeVar("T")
# For one header: proxies limit all headers of a reply to about 8 KiB.
_MAX_HEADER_BYTES: Final = 4096


class SpeechResponse(StreamingResponse):
    """Streams a body and closes it, however the reply ends."""

    def __init__(
        self,
        body: Body,
        audio_format: AudioFormat,
        stream_format: StreamFormat,
        outcomes: Outcomes,
        outcome: Outcome,
        *,
        granularities: Collection[str] = (),
    ) -> None:
        self._body = body
        self._outcomes, self._outcome = outcomes, outcome
        if stream_format == "sse":
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            super().__init__(_events(body, outcome, granularities), media_type="text/event-stream", headers=headers)
        else:
            name = f'attachment; filename="speech.{audio_format.extension}"'
            headers = {"Content-Disposition": name, "X-Accel-Buffering": "no"}
            super().__init__(_pieces(body, outcome), media_type=audio_format.content_type, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(self._body):
                await super().__call__(scope, receive, send)
        finally:
            self._outcomes.close(self._outcome)


async def respond(
    request: Request,
    opening: Awaitable[Body],
    audio_format: AudioFormat,
    stream_format: StreamFormat,
    outcomes: Outcomes,
    *,
    granularities: Collection[str] = (),
) -> Response:
    """Wait for the body's first audio, unless the client disconnects first, and answer with it. The outcome of the
    reply is stored for the request's key. `granularities`: the timestamps (`segment`, `word`) in an event stream."""
    body = await unless_disconnected(request, opening)
    if body is None:
        return Response(status_code=499)  # not sent to a client; for the log
    outcome = outcomes.begin(request.state.caller.allowance, request.state.request_id)
    response = SpeechResponse(body, audio_format, stream_format, outcomes, outcome, granularities=granularities)
    for warning in body.warnings:
        add_warning(response, warning)
    return response


async def respond_whole(request: Request, opening: Awaitable[Body], audio_format: AudioFormat) -> Response:
    """Answer when all audio is complete, with word timestamps in the header `X-Word-Timestamps`, or with
    `X-Word-Timestamps-Omitted` if they do not fit into a header."""
    whole = await unless_disconnected(request, _whole(opening))
    if whole is None:
        return Response(status_code=499)
    data, words, warnings = whole
    times = json.dumps([word_fields(word) for word in words])
    name = f'attachment; filename="speech.{audio_format.extension}"'
    response = Response(data, media_type=audio_format.content_type, headers={"Content-Disposition": name})
    if len(times) <= _MAX_HEADER_BYTES:
        response.headers["X-Word-Timestamps"] = times
    else:
        response.headers["X-Word-Timestamps-Omitted"] = "too-large"
    for warning in warnings:
        add_warning(response, warning)
    return response


async def _whole(opening: Awaitable[Body]) -> tuple[bytes, list[WordTime], tuple[str, ...]]:
    data, words = bytearray(), list[WordTime]()
    async with aclosing(await opening) as body:
        async for encoded in body:
            data += encoded.data
            words += encoded.words
        return bytes(data), words, body.warnings


def add_warning(response: Response, warning: str) -> None:
    """Append a warning to the `x-speech-warning` header."""
    before = response.headers.get("x-speech-warning")
    response.headers["x-speech-warning"] = f"{before}; {warning}" if before else warning


async def _pieces(body: Body, outcome: Outcome) -> AsyncGenerator[bytes, None]:
    """The bytes of an audio file; the reply's outcome is recorded in `outcome`."""
    try:
        async for encoded in body:
            if encoded.data:
                yield encoded.data
            if encoded.end is not None:
                outcome.completed(encoded.end, body.warnings)
    except Exception as error:
        outcome.failed(error)
        raise


async def _events(body: Body, outcome: Outcome, granularities: Collection[str]) -> AsyncGenerator[bytes, None]:
    """OpenAI's events: the pieces, which concatenate to one valid file, then the usage. As an extension, before a
    piece: the segments and words that begin in it."""
    try:
        async for encoded in body:
            if times := _times(encoded, granularities):
                yield _event("speech.audio.timestamps", **times)
            if encoded.data:
                yield _event("speech.audio.delta", audio=base64.b64encode(encoded.data).decode())
            if encoded.end is not None:
                yield _event("speech.audio.done", **summary(encoded.end, body.warnings))
                outcome.completed(encoded.end, body.warnings)
    except Exception as error:  # noqa: BLE001 - logged if it is unexpected
        outcome.failed(error)
        # The status has been sent: within an event stream, an error is another event.
        yield sse_error(error)


def _event(kind: str, **fields: object) -> bytes:
    return f"data: {json.dumps({'type': kind, **fields})}\n\n".encode()


def _times(encoded: Encoded, granularities: Collection[str]) -> dict[str, Any]:
    """The fields of an event with timestamps; none if no requested unit begins in the piece."""
    segments = [_segment(start) for start in encoded.begun] if "segment" in granularities else []
    words = [word_fields(word) for word in encoded.words] if "word" in granularities else []
    return {**({"segments": segments} if segments else {}), **({"words": words} if words else {})}


def word_fields(word: WordTime) -> dict[str, Any]:
    """A word and its times in seconds."""
    return {"word": word.text, "start": round(word.start_s, 3), "end": round(word.end_s, 3)}


def _segment(segment: SegmentStart) -> dict[str, Any]:
    place = segment.place
    return {"id": place.number, "count": place.count, "start": round(segment.start_s, 3), "text": place.text}
