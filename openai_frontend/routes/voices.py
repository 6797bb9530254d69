"""GET /v1/audio/voices and /v1/audio/languages. Answered from tables: no list ever wakes the GPU."""

from typing import Any

from fastapi import APIRouter

from openai_frontend.state import CurrentState
from openai_frontend.voices.names import OPENAI_VOICES, SPEAKERS
from speech_protocol.languages import AUTO, LANGUAGES

router = APIRouter()


@router.get("/audio/voices")
async def list_voices(state: CurrentState, legacy: bool = False) -> dict[str, Any]:
    """Every voice name; `?legacy=true` gives plain strings."""
    if legacy:
        return {"voices": list(state.catalog.voices)}
    voices = [_voice(name) for name in state.catalog.voices]
    return {"object": "list", "data": voices, "voices": voices}


@router.get("/audio/languages")
async def list_languages() -> dict[str, Any]:
    """The languages a request may name."""
    return {"languages": [AUTO, *LANGUAGES]}


def _voice(name: str) -> dict[str, Any]:
    voice: dict[str, Any] = {"id": name, "name": name, "object": "audio.voice"}
    for speaker in SPEAKERS:
        if speaker.name == OPENAI_VOICES.get(name, name):
            voice |= {"gender": speaker.gender, "language": speaker.language, "description": speaker.description}
    return voice
