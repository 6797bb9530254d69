"""POST /v1/audio/speech/resolve: what a speech request is to Triton, for batch clients that send it there themselves.

The reply may hold the recording of a stored voice. So it is for clients that could load a model of their own choice,
too: those that have Triton's control key.
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
    """What to send to Triton, but for the text and the seed; `inputs` are tensors by name."""

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
    """The Triton model and the tensors of a speech request, which is not made: its voice, model and language resolved
    as POST /v1/audio/speech does, for a batch client. Takes Triton's control key."""
    _check_key(state, triton_control_key)
    model, wire = await wire_request(body, state, request_id, caller)
    # A recording is megabytes of base64: not on the event loop.
    return await state.pools.reading.run(_respond, model, state.settings.checkpoints().get(model, ""), wire)


def _respond(model: str, checkpoint: str, wire: SpeechRequest) -> Response:
    target = SpeechTarget(model=model, checkpoint=checkpoint, inputs=wire.to_tensors())
    return Response(target.model_dump_json(), media_type="application/json")


def _check_key(state: CurrentState, given: str) -> None:
    """Raise ApiError 403 without Triton's control key. A server without one, nor API keys, is open to everyone."""
    expected = state.control_key
    if not expected and not state.has_keys:
        return
    if not expected or not hmac.compare_digest(given.encode(), expected.encode()):
        message = f"Send Triton's control key, TRITON_CONTROL_KEY on the server, in the header {HEADER}."
        raise ApiError(403, "control_key_required", message)
