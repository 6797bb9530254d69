"""/v1/audio/voices and /v1/audio/languages. Lists are answered from memory: they never load a model or call Triton."""

import json
from typing import Any

from fastapi import APIRouter, Request, Response

from openai_frontend.api.auth import NamesOnly, Owner
from openai_frontend.api.bodies.disconnect import unless_disconnected
from openai_frontend.api.bodies.media_types import JSON_ONLY
from openai_frontend.api.bodies.route import BodyRoute
from openai_frontend.api.schemas import NewName
from openai_frontend.api.state import CurrentState, RequestId, State
from openai_frontend.api.voice_bodies import VOICE_BODY_DOCS, SampleVoice, read_voice
from openai_frontend.api.voice_creation import clone, design
from openai_frontend.errors import invalid
from openai_frontend.voices.listing import built_in_voices, is_spoken, of_library
from openai_frontend.voices.records import Voice, check_voice_name
from speech_protocol.languages import AUTO, LANGUAGES
from speech_protocol.models import QWEN3_TTS_BASE

router = APIRouter(route_class=BodyRoute)


@router.get("/audio/voices")
async def list_voices(
    state: CurrentState, owner: Owner, names_only: NamesOnly, legacy: bool = False, model: str | None = None
) -> Response:
    """Every voice, built-in ones first, then the caller's own; or those of one `model`; `?legacy=true` gives names as
    plain strings. `unavailable` lists names that no model of this server supports, each with the reason."""
    body = await state.pools.reading.run(_listed, state, model or None, owner, names_only, legacy)
    return Response(body, media_type="application/json")


def _listed(state: State, model: str | None, owner: str | None, names_only: bool, legacy: bool) -> bytes:
    """The list as JSON, one voice at a time: thousands at once would block all other threads."""
    built_in = built_in_voices(state.catalog, state.facts, model, owner)
    voices = [voice for voice in built_in if is_spoken(voice)]
    if not state.catalog.is_particular(model) or state.catalog.model(model) == QWEN3_TTS_BASE.name:
        stored = map(_named, state.library.names()) if names_only else map(_public, state.library.voices(owner))
        spoken_with = of_library(state.facts)
        voices += [{**voice, **spoken_with} for voice in stored]
    if legacy:
        return json.dumps({"voices": [voice["name"] for voice in voices]}).encode()
    rows = b",".join(json.dumps(voice).encode() for voice in voices)
    unavailable = json.dumps([voice for voice in built_in if not is_spoken(voice)]).encode()
    return b'{"object":"list","data":[%b],"voices":[%b],"unavailable":%b}' % (rows, rows, unavailable)


@router.post("/audio/voices", openapi_extra=VOICE_BODY_DOCS, response_model=None)
async def create_voice(
    request: Request, state: CurrentState, request_id: RequestId, owner: Owner
) -> dict[str, Any] | Response:
    """Store a voice: cloned from `audio_sample`, or designed from `prompt`, which takes as long as a sentence."""
    body = await read_voice(request, state.pools.uploads)
    name = check_voice_name(body.name)
    state.catalog.check_new_name(name)
    await state.pools.reading.run(state.library.check_capacity, name, owner)
    if isinstance(body, SampleVoice):
        reference, origin = await clone(body, state, owner)
    else:
        # A disconnect cancels the synthesis.
        designed = await unless_disconnected(request, design(body, state, request_id, owner))
        if designed is None:
            return Response(status_code=499)
        reference, origin = designed
    voice = await state.pools.storing.run(state.library.add_voice, name, reference, origin)
    return {**_public(voice), **of_library(state.facts)}


@router.get("/audio/voices/{voice_id}")
async def get_voice(voice_id: str, state: CurrentState, owner: Owner) -> dict[str, Any]:
    """One voice."""
    return await state.pools.reading.run(_found, state, voice_id, owner)


def _found(state: State, voice_id: str, owner: str | None) -> dict[str, Any]:
    if voice_id in state.catalog.voices:
        return next(voice for voice in built_in_voices(state.catalog, state.facts) if voice["id"] == voice_id)
    return {**_public(state.library.voice(voice_id, owner)), **of_library(state.facts)}


@router.post("/audio/voices/{voice_id}", dependencies=[JSON_ONLY])
async def rename_voice(voice_id: str, body: NewName, state: CurrentState, owner: Owner) -> dict[str, Any]:
    """Rename a voice; its id does not change."""
    if voice_id in state.catalog.voices:
        message = f"'{voice_id}' is a built-in voice and can't be renamed. Use a stored voice."
        raise invalid("voice_id", message, "built_in_voice")
    name = check_voice_name(body.name)
    state.catalog.check_new_name(name)
    voice = await state.pools.storing.run(state.library.rename_voice, voice_id, name, owner)
    return {**_public(voice), **of_library(state.facts)}


@router.delete("/audio/voices/{voice_id}")
async def delete_voice(voice_id: str, state: CurrentState, owner: Owner) -> dict[str, Any]:
    """Delete a voice; requests in flight with it continue."""
    if voice_id in state.catalog.voices:
        message = f"'{voice_id}' is a built-in voice and can't be deleted. Use a stored voice."
        raise invalid("voice_id", message, "built_in_voice")
    await state.pools.storing.run(state.library.remove_voice, voice_id, owner)
    return {"id": voice_id, "deleted": True, "object": "audio.voice.deleted"}


@router.get("/audio/languages")
async def list_languages(state: CurrentState) -> dict[str, Any]:
    """The languages a request may specify, and those of each model that can be loaded."""
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


def _named(name: str) -> dict[str, Any]:
    """A voice whose name alone is public; requests may use that name."""
    return {"id": name, "name": name, "object": "audio.voice"}
