"""POST /admin/models/{name}/load and /unload, for operators: closed without ADMIN_KEY."""

import hmac
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header

from openai_frontend.errors import ApiError
from openai_frontend.state import CurrentState


async def _check_key(state: CurrentState, authorization: Annotated[str, Header()] = "") -> None:
    if state.settings.admin_key is None:
        message = "This server has no admin routes. Set ADMIN_KEY to open them."
        raise ApiError(403, "admin_disabled", message)
    expected = f"Bearer {state.settings.admin_key.get_secret_value()}"
    if not hmac.compare_digest(authorization.encode(), expected.encode()):
        message = "Send the server's ADMIN_KEY as `Authorization: Bearer KEY`."
        raise ApiError(401, "invalid_admin_key", message, headers={"WWW-Authenticate": "Bearer"})


router = APIRouter(prefix="/admin", dependencies=[Depends(_check_key)])


@router.post("/models/{name}/load")
async def load_model(name: str, state: CurrentState) -> dict[str, Any]:
    """Load a Triton model and wait until it is ready."""
    await state.lifecycle.ensure_ready(name)
    return {"model": name, "state": "ready"}


@router.post("/models/{name}/unload")
async def unload_model(name: str, state: CurrentState) -> dict[str, Any]:
    """Unload a Triton model, wait until it is gone, and return its state. 503 `busy` where it is in use or loading."""
    return {"model": name, "state": await state.lifecycle.unload(name)}
