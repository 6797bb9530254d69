"""/v1/audio/voices and /v1/audio/languages. Lists are answered from memory: none ever wakes the GPU or asks Triton."""

import asyncio
import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from openai_frontend.errors import invalid
from openai_frontend.responses import unless_gone
from openai_frontend.state import CurrentState, RequestId
from openai_frontend.voices.bodies import VOICE_BODY_DOCS, SampleVoice, read_voice
from openai_frontend.voices.listing import built_in_voices, is_spoken, of_library
from openai_frontend.voices.making import clone, design
from openai_frontend.voices.records import Voice, check_voice_name
from speech_protocol.languages import AUTO, LANGUAGES
from speech_protocol.models import QWEN3_TTS_BASE

router = APIRouter()


def _owner(request: Request) -> str | None:
    """Whose API key made the request, as the start of the key's SHA-256; None without a key."""
    key = request.headers.get("authorization", "").partition(" ")[2].strip()
    return hashlib.sha256(key.encode()).hexdigest()[:16] if key else None


Owner = Annotated[str | None, Depends(_owner)]


@router.get("/audio/voices")
async def list_voices(state: CurrentState, legacy: bool = False, model: str | None = None) -> dict[str, Any]:
    """Every voice, built-in ones first, or those of one `model`; `?legacy=true` gives names as plain strings. In
    `unavailable` are names that nothing here speaks with, and the reason of each."""
    built_in = built_in_voices(state.catalog, state.facts, model or None)
    voices = [voice for voice in built_in if is_spoken(voice)]
    if not state.catalog.is_particular(model) or state.catalog.model(model) == QWEN3_TTS_BASE.name:
        voices += [{**_public(voice), **of_library(state.facts)} for voice in state.library.voices()]
    if legacy:
        return {"voices": [voice["name"] for voice in voices]}
    unavailable = [voice for voice in built_in if not is_spoken(voice)]
    return {"object": "list", "data": voices, "voices": voices, "unavailable": unavailable}


@router.post("/audio/voices", openapi_extra=VOICE_BODY_DOCS, response_model=None)
async def create_voice(
    request: Request, state: CurrentState, request_id: RequestId, owner: Owner
) -> dict[str, Any] | Response:
    """Keep a voice: cloned from `audio_sample`, or designed from `prompt`, which takes as long as a sentence."""
    body = await read_voice(request)
    name = check_voice_name(body.name)
    state.catalog.check_new_name(name)
    state.library.check_room(name)
    if isinstance(body, SampleVoice):
        reference, origin = await clone(body, state, owner)
    else:
        # A client that hangs up ends the synthesis.
        designed = await unless_gone(request, design(body, state, request_id, owner))
        if designed is None:
            return Response(status_code=499)
        reference, origin = designed
    return _public(await asyncio.to_thread(state.library.add_voice, name, reference, origin))


@router.get("/audio/voices/{voice_id}")
async def get_voice(voice_id: str, state: CurrentState) -> dict[str, Any]:
    """One voice."""
    for voice in built_in_voices(state.catalog, state.facts):
        if voice["id"] == voice_id:
            return voice
    return {**_public(state.library.voice(voice_id)), **of_library(state.facts)}


@router.delete("/audio/voices/{voice_id}")
async def delete_voice(voice_id: str, state: CurrentState) -> dict[str, Any]:
    """Forget a voice; requests that speak with it already go on."""
    if voice_id in state.catalog.voices:
        raise invalid(
            "voice_id", f"'{voice_id}' is a built-in voice and can't be deleted. Name a stored one.", "built_in_voice"
        )
    await asyncio.to_thread(state.library.remove_voice, voice_id)
    return {"id": voice_id, "deleted": True, "object": "audio.voice.deleted"}


@router.get("/audio/languages")
async def list_languages(state: CurrentState) -> dict[str, Any]:
    """The languages a request may name, and which of them each model that can be loaded speaks."""
    facts = state.facts
    models = {name: facts.languages(name) for name in state.catalog.triton_models if not facts.why_unavailable(name)}
    spoken = {language for languages in models.values() for language in languages}
    return {"languages": [AUTO, *(name for name in LANGUAGES if name in spoken)], "models": models}


def _public(voice: Voice) -> dict[str, Any]:
    extra = {"prompt": voice.prompt, "language": voice.language, "consent": voice.consent}
    return {
        "id": voice.id,
        "object": "audio.voice",
        "name": voice.name,
        "type": voice.type,
        "created_at": voice.created_at,
        **{name: value for name, value in extra.items() if value is not None},
    }
