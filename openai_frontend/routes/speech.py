"""POST /v1/audio/speech."""

from dataclasses import replace

from fastapi import APIRouter, Request, Response

from openai_frontend.errors import invalid
from openai_frontend.responses import respond
from openai_frontend.schemas import SpeechBody, SpeechForm
from openai_frontend.state import CurrentState, RequestId
from openai_frontend.voices.speaking import with_voice

router = APIRouter()


@router.post("/audio/speech", response_class=Response)
async def create_speech(body: SpeechBody, request: Request, state: CurrentState, request_id: RequestId) -> Response:
    """Speak a text; the audio is sent as it is made."""
    form = SpeechForm(body.input, body.language, body.response_format, body.seed)
    audio_format = form.audio_format(state.settings)
    wire = form.to_request(state.settings, request_id)
    target = state.catalog.resolve(body.model, body.voice_name())
    if target.needs_instructions and not (body.instructions or "").strip():
        raise invalid(
            "instructions", f"'{target.model}' makes the voice from a description: send it as `instructions`."
        )
    wire = await with_voice(replace(wire, instruct=body.instructions or None), target, state.library)
    opening = state.synthesis.open(target.model, wire, audio_format, body.speed)
    return await respond(request, opening, audio_format, body.stream_format)
