"""POST /v1/audio/speech/resolve: resolves a speech request to a Triton request, for batch clients that use Triton
directly.

The reply may contain the recording of a stored voice, so it requires Triton's control key, whose holders could read it
anyway by loading a model.
"""

import hmac
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel

from openai_frontend.api.auth import CurrentCaller
from openai_frontend.api.bodies.media_types import JSON_ONLY
from openai_frontend.api.bodies.route import BodyRoute
from openai_frontend.api.routes.speech import wire_request
from openai_frontend.api.schemas import SpeechBody
from openai_frontend.api.state import CurrentState, RequestId
from openai_frontend.errors import ApiError
from speech_protocol.control import HEADER
from speech_protocol.request import SpeechRequest

router = APIRouter(route_class=BodyRoute)


class SpeechTarget(BaseModel):
    """A Triton request without the text and the seed; `inputs` are tensors by name."""

    object: Literal["speech.target"] = "speech.target"
    model: str
    checkpoint: str
    inputs: dict[str, str | int | float | bool]


@router.post(
    "/audio/speech/resolve", response_class=Response, responses={200: {"model": SpeechTarget}}, dependencies=[JSON_ONLY]
)
async def resolve_speech(
    body: SpeechBody,
    state: CurrentState,
    request_id: RequestId,
    caller: CurrentCaller,
    triton_control_key: Annotated[str, Header(alias=HEADER)] = "",
) -> Response:
    """The Triton model and the tensors of a speech request, without performing it: voice, model and language are
    resolved as in POST /v1/audio/speech. For batch clients; requires Triton's control key."""
    _check_key(state, triton_control_key)
    model, wire = await wire_request(body, state, request_id, caller)
    # Recordings are megabytes of base64: not on the event loop.
    return await state.pools.reading.run(_respond, model, state.settings.checkpoints().get(model, ""), wire)


def _respond(model: str, checkpoint: str, wire: SpeechRequest) -> Response:
    target = SpeechTarget(model=model, checkpoint=checkpoint, inputs=wire.to_tensors())
    return Response(target.model_dump_json(), media_type="application/json")


def _check_key(state: CurrentState, given: str) -> None:
    """Raise ApiError 403 without Triton's control key. A server with neither a control key nor API keys is open to all
    clients."""
    expected = state.control_key
    if not expected and not state.has_keys:
        return
    if not expected or not hmac.compare_digest(given.encode(), expected.encode()):
        message = f"Send Triton's control key, TRITON_CONTROL_KEY on the server, in the header {HEADER}."
        raise ApiError(403, "control_key_required", message)
