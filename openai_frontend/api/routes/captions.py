"""POST /dev/captioned_speech, as in Kokoro-FastAPI: audio as base64 with word timestamps."""

import base64
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from openai_frontend.api.auth import CurrentCaller
from openai_frontend.api.bodies.disconnect import unless_disconnected
from openai_frontend.api.bodies.media_types import JSON_ONLY
from openai_frontend.api.bodies.route import BodyRoute
from openai_frontend.api.routes.speech import check_words, wire_request
from openai_frontend.api.schemas import SpeechBody, audio_format_of
from openai_frontend.api.state import CurrentState, RequestId
from openai_frontend.errors import from_exception
from openai_frontend.synthesis.body import Body, WordTime

router = APIRouter(route_class=BodyRoute)


class CaptionedBody(SpeechBody):
    """POST /dev/captioned_speech: the fields of /v1/audio/speech, and Kokoro-FastAPI's."""

    stream: bool = True
    """True: lines of JSON during synthesis; false: one JSON object."""
    return_timestamps: bool = True
    """False: audio without timestamps."""


@router.post("/dev/captioned_speech", response_class=Response, dependencies=[JSON_ONLY])
async def create_captioned_speech(
    body: CaptionedBody, request: Request, state: CurrentState, request_id: RequestId, caller: CurrentCaller
) -> Response:
    """Synthesize a text; each object has `audio` as base64, `audio_format`, and `timestamps` of the words that begin in
    it: `word`, `start_time` and `end_time` in seconds."""
    audio_format = audio_format_of(body.response_format, state.settings, body.sample_rate)
    model, wire = await wire_request(body, state, request_id, caller)
    asked = {
        "timestamp_granularities": ["word"] if body.return_timestamps else None,
        "word_timestamps": not body.stream,
    }
    check_words(body.model_copy(update=asked if body.return_timestamps else {}), model, wire.text, state)
    caller.allowance.spend_characters(len(wire.text))
    opening = state.synthesis.open(
        model, wire, audio_format, body.speed, words=body.return_timestamps, owner=caller.owner
    )
    speech = await unless_disconnected(request, opening)
    if speech is None:
        return Response(status_code=499)
    if body.stream:
        lines = _lines(speech, audio_format.content_type)
        return StreamingResponse(lines, media_type="application/json", headers={"X-Accel-Buffering": "no"})
    data, words = bytearray(), list[WordTime]()
    async with aclosing(speech):
        async for encoded in speech:
            data += encoded.data
            words += encoded.words
    return JSONResponse(_object(bytes(data), words, audio_format.content_type))


async def _lines(speech: Body, content_type: str) -> AsyncGenerator[bytes, None]:
    words: list[WordTime] = []
    async with aclosing(speech):
        try:
            async for encoded in speech:
                words += encoded.words
                if encoded.data:
                    yield json.dumps(_object(encoded.data, words, content_type)).encode() + b"\n"
                    words = []
            if words:  # found after the last audio
                yield json.dumps(_object(b"", words, content_type)).encode() + b"\n"
        except Exception as error:  # noqa: BLE001 - the status has been sent
            yield json.dumps(from_exception(error).body()).encode() + b"\n"


def _object(data: bytes, words: list[WordTime], content_type: str) -> dict[str, object]:
    times = [{"word": each.text, "start_time": each.start_s, "end_time": each.end_s} for each in words]
    return {"audio": base64.b64encode(data).decode(), "audio_format": content_type, "timestamps": times}
