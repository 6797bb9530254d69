"""POST /v1/audio/speech."""

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from openai_frontend.api.auth import Caller, CurrentCaller
from openai_frontend.api.bodies.media_types import JSON_ONLY
from openai_frontend.api.bodies.ref_audio import read_ref_audio
from openai_frontend.api.bodies.route import BodyRoute
from openai_frontend.api.cloning import recording_fields
from openai_frontend.api.openapi import AUDIO
from openai_frontend.api.responses import add_warning, respond, respond_whole
from openai_frontend.api.schemas import SpeechBody, audio_format_of, check_input, check_language
from openai_frontend.api.state import CurrentState, RequestId, State
from openai_frontend.errors import invalid
from openai_frontend.settings.settings import Settings
from openai_frontend.voices.speaking import VoiceFields, voice_fields
from speech_protocol.models import ALIGNER, HIBARI, QWEN3_TTS, Task
from speech_protocol.request import SpeechRequest

router = APIRouter(route_class=BodyRoute)

# Maximum input of a reply that is sent when complete: about five minutes of audio.
MAX_WHOLE_CHARS: Final = 4096
_INSTRUCTIONS_IGNORED: Final = "instructions are ignored: the model does not support them"


@router.post("/audio/speech", response_class=Response, responses=AUDIO, dependencies=[JSON_ONLY])
async def create_speech(
    body: SpeechBody,
    request: Request,
    state: CurrentState,
    request_id: RequestId,
    caller: CurrentCaller,
) -> Response:
    """Synthesize a text; the audio is streamed during synthesis."""
    if body.word_timestamps and body.stream_format == "sse":
        message = 'Use `timestamp_granularities: ["word"]` in an event stream.'
        raise invalid("word_timestamps", message)
    audio_format = audio_format_of(body.response_format, state.settings, body.sample_rate)
    model, wire = await wire_request(body, state, request_id, caller)
    check_words(body, model, wire.text, state)
    caller.allowance.spend_characters(len(wire.text))
    opening = state.synthesis.open(model, wire, audio_format, body.speed, words=body.wants_words, owner=caller.owner)
    if body.word_timestamps:
        response = await respond_whole(request, opening, audio_format)
    else:
        times = body.timestamp_granularities or ()
        response = await respond(
            request, opening, audio_format, body.stream_format, state.outcomes, granularities=times
        )
    if wire.instruct and not state.facts.supports_instructions(model):
        add_warning(response, _INSTRUCTIONS_IGNORED)
    return response


@router.get("/audio/speech/{request_id}")
async def get_outcome(request_id: str, state: CurrentState, caller: CurrentCaller) -> dict[str, Any]:
    """The outcome of a reply, by its x-request-id, until a minute after its end, for the same API key."""
    return state.outcomes.find(caller.allowance, request_id)


def check_words(body: SpeechBody, model: str, text: str, state: State) -> None:
    """Raise ApiError 400 if word timestamps are requested and the model has none, or the reply would be too long to
    buffer."""
    field = "word_timestamps" if body.word_timestamps else "timestamp_granularities"
    if body.wants_words and not has_words(model, state.settings):
        message = (
            f"'{model}' has no word timestamps of its own. Set ALIGNER_MODEL_ID={ALIGNER.default_checkpoint} on the "
            "server, or use the model 'hibari' or timestamp_granularities [\"segment\"]."
        )
        raise invalid(field, message, "unsupported_parameter")
    if body.wants_words and model != HIBARI.name and (missing := state.facts.missing_checkpoint(ALIGNER.name)):
        message = f"{ALIGNER.name} can't be loaded: {missing} Add it, or omit the word timestamps."
        raise invalid(field, message, "unsupported_parameter")
    if body.word_timestamps and len(text) > MAX_WHOLE_CHARS:
        message = (
            f"With word_timestamps the input has at most {MAX_WHOLE_CHARS} characters, since the reply is held until "
            'it is complete. Use stream_format "sse" with timestamp_granularities.'
        )
        raise invalid(field, message, "string_above_max_length")


def has_words(model: str, settings: Settings) -> bool:
    """Whether there are word timestamps for the model: its own, or those of the aligner."""
    return model == HIBARI.name or (model in {spec.name for spec in QWEN3_TTS} and bool(settings.aligner_model_id))


async def wire_request(body: SpeechBody, state: State, request_id: str, caller: Caller) -> tuple[str, SpeechRequest]:
    """The Triton model and the wire request of a body. Raises ApiError or SpeechError."""
    text = check_input(body.input, state.settings)
    language = check_language(body.language)
    model, voice = await _address(body, state, caller)
    return model, SpeechRequest(
        text=text,
        language=language,
        instruct=body.instructions or None,
        seed=body.seed,
        temperature=body.temperature,
        top_k=body.top_k,
        top_p=body.top_p,
        repetition_penalty=body.repetition_penalty,
        max_audio_seconds=body.max_audio_seconds(state.settings),
        request_id=request_id,
        **voice,
    )


async def _address(body: SpeechBody, state: State, caller: Caller) -> tuple[str, VoiceFields]:
    """The Triton model of a request, and its voice. Raises ApiError or SpeechError."""
    if body.ref_audio:
        return await _clone(body, body.ref_audio, state, caller)
    target = await state.resolve(body.model, body.voice_name(), body.task, owner=caller.owner)
    if target.needs_instructions and not (body.instructions or "").strip():
        message = f"'{target.model}' creates the voice from a description. Send it as `instructions`."
        raise invalid("instructions", message)
    if body.task is Task.CLONE and not target.voices:
        message = "task_type 'Base' clones a voice. Send its recording as `ref_audio`, or name a stored voice."
        raise invalid("ref_audio", message, "missing_required_parameter")
    return target.model, await voice_fields(target, state.library, state.pools.reading, body.x_vector_only_mode)


async def _clone(body: SpeechBody, ref_audio: str, state: State, caller: Caller) -> tuple[str, VoiceFields]:
    """The same for a request with a recording."""
    if body.task is not Task.CLONE:
        raise invalid("ref_audio", f"task_type '{body.task_type}' does not clone a voice. Omit ref_audio or task_type.")
    model = (await state.resolve(body.model, None, Task.CLONE)).model
    await state.pools.reading.run(state.library.check_consent, body.consent, caller.owner)
    with state.admission.admit(caller.owner):  # a fetch may take seconds, and the recording is held meanwhile
        recording = await read_ref_audio(ref_audio, state.settings, state.pools.uploads)
    return model, await recording_fields(state, recording, body.ref_text, caller.owner, body.x_vector_only_mode)
