"""GET /v1/models, /v1/models/{id} and /v1/audio/models, answered from memory: a list never loads a model."""

from typing import Any

from fastapi import APIRouter

from openai_frontend.api.state import CurrentState, State

router = APIRouter()

# OpenAI's clients require a creation time; these models have no meaningful one.
_CREATED = 1_700_000_000


@router.get("/models")
async def list_models(state: CurrentState) -> dict[str, Any]:
    """Every public model name."""
    return {"object": "list", "data": [_model(name, state) for name in state.catalog.models]}


@router.get("/models/{name:path}")
async def get_model(name: str, state: CurrentState) -> dict[str, Any]:
    """One model; ids may contain slashes."""
    return _model(name, state)


@router.get("/test")
async def test() -> dict[str, str]:
    """The request with which wyoming_openai detects a server that lists its voices; introduced by Kokoro-FastAPI."""
    return {"status": "ok"}


@router.get("/audio/models")
async def list_audio_models(state: CurrentState) -> dict[str, Any]:
    """The same names in Open WebUI's format."""
    return {"models": [{"id": name} for name in state.catalog.models]}


def _model(name: str, state: State) -> dict[str, Any]:
    model = state.catalog.model(name)
    fields = {"id": name, "object": "model", "created": _CREATED, "owned_by": "triton-speech-server"}
    return {**fields, "triton_model": model, **state.facts.public(model)}
