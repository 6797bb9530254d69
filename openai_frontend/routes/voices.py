"""/v1/audio/voices and /v1/audio/languages. Lists are answered from memory: none ever wakes the GPU or asks Triton."""

import json
from typing import Any

from fastapi import APIRouter, Request, Response

from openai_frontend.body_route import BodyRoute
from openai_frontend.errors import invalid
from openai_frontend.keys import NamesOnly, Owner
from openai_frontend.media_types import JSON_ONLY
from openai_frontend.responses import unless_gone
from openai_frontend.schemas import NewName
from openai_frontend.state import CurrentState, RequestId, State
from openai_frontend.voices.bodies import VOICE_BODY_DOCS, SampleVoice, read_voice
from openai_frontend.voices.making import clone, design
from openai_frontend.voices.names import SPEAKERS
from openai_frontend.voices.records import Voice, check_voice_name
from speech_protocol.languages import AUTO, LANGUAGES

router = APIRouter(route_class=BodyRoute)


@router.get("/audio/voices")
async def list_voices(state: CurrentState, owner: Owner, names_only: NamesOnly, legacy: bool = False) -> Response:
    """Every voice, built-in ones first, then the caller's own; `?legacy=true` gives names as plain strings."""
    body = await state.pools.reading.run(_listed, state, owner, names_only, legacy)
    return Response(body, media_type="application/json")


def _listed(state: State, owner: str | None, names_only: bool, legacy: bool) -> bytes:
    """The list as JSON, a voice at a time: thousands at once would hold up every other thread."""
    voices = [_built_in(name, state) for name in state.catalog.voices]
    if names_only:
        voices += [_named(name) for name in state.library.names()]
    else:
        voices += [_public(voice) for voice in state.library.voices(owner)]
    if legacy:
        return json.dumps({"voices": [voice["name"] for voice in voices]}).encode()
    rows = b",".join(json.dumps(voice).encode() for voice in voices)
    return b'{"object":"list","data":[%b],"voices":[%b]}' % (rows, rows)


@router.post("/audio/voices", openapi_extra=VOICE_BODY_DOCS, response_model=None)
async def create_voice(
    request: Request, state: CurrentState, request_id: RequestId, owner: Owner
) -> dict[str, Any] | Response:
    """Keep a voice: cloned from `audio_sample`, or designed from `prompt`, which takes as long as a sentence."""
    body = await read_voice(request)
    name = check_voice_name(body.name)
    state.catalog.check_new_name(name)
    await state.pools.reading.run(state.library.check_room, name, owner)
    if isinstance(body, SampleVoice):
        reference, origin = await clone(body, state, owner)
    else:
        # A client that hangs up ends the synthesis.
        designed = await unless_gone(request, design(body, state, request_id, owner))
        if designed is None:
            return Response(status_code=499)
        reference, origin = designed
    return _public(await state.pools.storing.run(state.library.add_voice, name, reference, origin))


@router.get("/audio/voices/{voice_id}")
async def get_voice(voice_id: str, state: CurrentState, owner: Owner) -> dict[str, Any]:
    """One voice."""
    if voice_id in state.catalog.voices:
        return _built_in(voice_id, state)
    return _public(await state.pools.reading.run(state.library.voice, voice_id, owner))


@router.post("/audio/voices/{voice_id}", dependencies=[JSON_ONLY])
async def rename_voice(voice_id: str, body: NewName, state: CurrentState, owner: Owner) -> dict[str, Any]:
    """Give a voice another name; its id stays."""
    if voice_id in state.catalog.voices:
        raise invalid("voice_id", f"'{voice_id}' is a built-in voice, which keeps its name.", "built_in_voice")
    name = check_voice_name(body.name)
    state.catalog.check_new_name(name)
    return _public(await state.pools.storing.run(state.library.rename_voice, voice_id, name, owner))


@router.delete("/audio/voices/{voice_id}")
async def delete_voice(voice_id: str, state: CurrentState, owner: Owner) -> dict[str, Any]:
    """Forget a voice; requests that speak with it already go on."""
    if voice_id in state.catalog.voices:
        raise invalid("voice_id", f"'{voice_id}' is a built-in voice, which stays.", "built_in_voice")
    await state.pools.storing.run(state.library.remove_voice, voice_id, owner)
    return {"id": voice_id, "deleted": True, "object": "audio.voice.deleted"}


@router.get("/audio/languages")
async def list_languages() -> dict[str, Any]:
    """The languages a request may name."""
    return {"languages": [AUTO, *LANGUAGES]}


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
    """A voice of which no more than its name is told; it can be spoken with by that."""
    return {"id": name, "name": name, "object": "audio.voice"}


def _built_in(name: str, state: State) -> dict[str, Any]:
    voice = _named(name)
    for speaker in SPEAKERS:
        if speaker.name == state.catalog.speaker(name):
            voice |= {"gender": speaker.gender, "language": speaker.language, "description": speaker.description}
    return voice
