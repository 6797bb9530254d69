"""POST /admin/models/{name}/load and /unload, for operators: disabled without ADMIN_KEY."""

import hmac
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header

from openai_frontend.api.auth import CHALLENGE, bearer_token
from openai_frontend.api.state import CurrentState
from openai_frontend.errors import ApiError


async def _check_key(state: CurrentState, authorization: Annotated[str, Header()] = "") -> None:
    if state.settings.admin_key is None:
        message = "This server has no admin routes. Set ADMIN_KEY to open them."
        raise ApiError(403, "admin_disabled", message)
    expected = state.settings.admin_key.get_secret_value().encode()
    if not hmac.compare_digest(bearer_token(authorization), expected):
        message = "Send the server's ADMIN_KEY as `Authorization: Bearer KEY`."
        raise ApiError(401, "invalid_admin_key", message, headers=CHALLENGE)


router = APIRouter(prefix="/admin", dependencies=[Depends(_check_key)])


@router.post("/models/{name}/load")
async def load_model(name: str, state: CurrentState) -> dict[str, Any]:
    """Load a Triton model and wait until it is ready."""
    await _check_exists(name, state)
    await state.lifecycle.ensure_ready(name)
    return {"model": name, "state": "ready"}


@router.post("/models/{name}/unload")
async def unload_model(name: str, state: CurrentState) -> dict[str, Any]:
    """Unload a Triton model, wait until it is unloaded, and return its state. 503 `busy` if it is in use or loading."""
    await _check_exists(name, state)
    return {"model": name, "state": await state.lifecycle.unload(name)}


async def _check_exists(name: str, state: CurrentState) -> None:
    models = await state.triton.index()
    if name not in models:
        message = f"Triton has no model '{name}'. Use one of: {', '.join(sorted(models))}."
        raise ApiError(404, "model_not_found", message, param="model")
