"""POST /v1/audio/speech/clone: one utterance in the voice of an uploaded recording."""

from typing import Annotated

from fastapi import APIRouter, File, Form, Request, Response, UploadFile

from openai_frontend.api.auth import CurrentCaller
from openai_frontend.api.bodies.route import BodyRoute
from openai_frontend.api.cloning import recording_fields
from openai_frontend.api.openapi import AUDIO
from openai_frontend.api.responses import respond
from openai_frontend.api.schemas import Name, RefText, Seed, Speed, Text, audio_format_of, check_input, check_language
from openai_frontend.api.state import CurrentState, RequestId
from openai_frontend.errors import invalid
from openai_frontend.thread_pools import read_upload
from speech_protocol.models import Task
from speech_protocol.request import SpeechRequest

router = APIRouter(route_class=BodyRoute)


@router.post("/audio/speech/clone", response_class=Response, responses=AUDIO)
async def create_cloned_speech(
    request: Request,
    state: CurrentState,
    request_id: RequestId,
    caller: CurrentCaller,
    text: Annotated[Text, Form(alias="input")],
    ref_audio: Annotated[UploadFile | None, File()] = None,
    file: Annotated[UploadFile | None, File(description="The single-file server's name for ref_audio.")] = None,
    ref_text: Annotated[RefText | None, Form()] = None,
    model: Annotated[Name | None, Form()] = None,
    language: Annotated[Name | None, Form()] = None,
    response_format: Annotated[Name | None, Form()] = None,
    speed: Annotated[Speed, Form()] = 1.0,
    seed: Annotated[Seed | None, Form()] = None,
    consent: Annotated[Name | None, Form()] = None,
) -> Response:
    """Synthesize a text in the voice of `ref_audio`; its transcript in `ref_text` improves the likeness."""
    audio_format = audio_format_of(response_format, state.settings)
    text, spoken = check_input(text, state.settings), check_language(language)
    target = await state.resolve(model, None, Task.CLONE)
    await state.pools.reading.run(state.library.check_consent, consent, caller.owner)
    upload = ref_audio or file
    if upload is None:
        raise invalid(
            "ref_audio", "Send a recording of the voice as the file `ref_audio`.", "missing_required_parameter"
        )
    recording = await read_upload(state.pools.uploads, upload)
    wire = SpeechRequest(
        text=text,
        language=spoken,
        seed=seed,
        max_audio_seconds=state.settings.max_audio_seconds,
        request_id=request_id,
        **await recording_fields(state, recording, ref_text, caller.owner),
    )
    caller.allowance.spend_characters(len(text))
    opening = state.synthesis.open(target.model, wire, audio_format, speed, owner=caller.owner)
    return await respond(request, opening, audio_format, "audio", state.outcomes)
