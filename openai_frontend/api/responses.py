"""Replies that carry speech as it is made: plain bytes, or server-sent events.

The status line goes out with the first audio, never before it. A client that disconnects, before or after, cancels its
request.
"""

import base64
import json
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Any, Literal, TypeVar

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from openai_frontend.api.bodies.disconnect import unless_disconnected
from openai_frontend.api.outcomes import Outcome, Outcomes, summary
from openai_frontend.audio.formats import AudioFormat
from openai_frontend.errors import sse_error
from openai_frontend.synthesis.body import Body, SegmentStart

StreamFormat = Literal["audio", "sse"]
T = TypeVar("T")


class SpeechResponse(StreamingResponse):
    """Streams a body and closes it, whatever ends the reply."""

    def __init__(
        self,
        body: Body,
        audio_format: AudioFormat,
        stream_format: StreamFormat,
        outcomes: Outcomes,
        outcome: Outcome,
        *,
        tells_segments: bool = False,
    ) -> None:
        self._body = body
        self._outcomes, self._outcome = outcomes, outcome
        if stream_format == "sse":
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            super().__init__(_events(body, outcome, tells_segments), media_type="text/event-stream", headers=headers)
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
    tells_segments: bool = False,
) -> Response:
    """Wait for the body's first audio, unless the client disconnects first, and answer with it. How the reply ends is
    kept for the request's key. `tells_segments`: an event stream says where segments begin."""
    body = await unless_disconnected(request, opening)
    if body is None:
        return Response(status_code=499)  # not read by any client; for the log
    outcome = outcomes.begin(request.state.caller.allowance, request.state.request_id)
    response = SpeechResponse(body, audio_format, stream_format, outcomes, outcome, tells_segments=tells_segments)
    for warning in body.warnings:
        add_warning(response, warning)
    return response


def add_warning(response: Response, warning: str) -> None:
    """Put a warning into the `x-speech-warning` header, behind those that are there."""
    before = response.headers.get("x-speech-warning")
    response.headers["x-speech-warning"] = f"{before}; {warning}" if before else warning


async def _pieces(body: Body, outcome: Outcome) -> AsyncGenerator[bytes, None]:
    """The bytes of an audio file; how the reply ends goes to `outcome`."""
    try:
        async for encoded in body:
            if encoded.data:
                yield encoded.data
            if encoded.end is not None:
                outcome.completed(encoded.end, body.warnings)
    except Exception as error:
        outcome.failed(error)
        raise


async def _events(body: Body, outcome: Outcome, tells_segments: bool) -> AsyncGenerator[bytes, None]:
    """OpenAI's events: the pieces, which concatenate to one valid file, then the usage. Ours, before a piece: the
    segments that begin in it."""
    try:
        async for encoded in body:
            if tells_segments and encoded.begun:
                yield _event("speech.audio.timestamps", segments=[_segment(start) for start in encoded.begun])
            if encoded.data:
                yield _event("speech.audio.delta", audio=base64.b64encode(encoded.data).decode())
            if encoded.end is not None:
                yield _event("speech.audio.done", **summary(encoded.end, body.warnings))
                outcome.completed(encoded.end, body.warnings)
    except Exception as error:  # noqa: BLE001 - logged where it is unexpected
        outcome.failed(error)
        # The status is sent already: inside a stream of events, an error is one more event.
        yield sse_error(error)


def _event(kind: str, **fields: object) -> bytes:
    return f"data: {json.dumps({'type': kind, **fields})}\n\n".encode()


def _segment(segment: SegmentStart) -> dict[str, Any]:
    place = segment.place
    return {"id": place.number, "count": place.count, "start": round(segment.start_s, 3), "text": place.text}
