"""GET /metrics, for Prometheus."""

from fastapi import APIRouter, Response

from openai_frontend.api.state import CurrentState
from openai_frontend.observability.metrics import CONTENT_TYPE
from speech_protocol.errors import SpeechError

router = APIRouter()


@router.get("/metrics", response_class=Response)
async def metrics(state: CurrentState) -> Response:
    """The frontend's metrics, as OpenMetrics text. Resets no timer and loads nothing."""
    try:
        index = await state.triton.index()
    except SpeechError:
        index = {}
    state.metrics.set_states({name: status.state for name, status in index.items()})
    state.metrics.pending.set(state.admission.pending)
    state.metrics.active.set(state.admission.fair_queue.active)
    state.metrics.waiting.set(state.admission.fair_queue.waiting)
    return Response(state.metrics.expose(), media_type=CONTENT_TYPE)
