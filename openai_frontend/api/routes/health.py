"""GET /health: loaded models, their devices and idle times; /live and /ready for orchestrators.

None of them loads a model, delays a request or resets a timer.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from openai_frontend.api.state import CurrentState, State
from openai_frontend.models.facts import failure_reason
from openai_frontend.models.standby import weights_of
from speech_client.triton import ModelState, ModelStatus
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.models import ALIGNER, MODELS, QWEN3_TTS

router = APIRouter()

_MIB = 2**20
_CHECKPOINT_VARIABLES = {spec.name: spec.checkpoint_variable for spec in QWEN3_TTS}
# Shorter than the time-out of probes: a hanging Triton must not make the frontend appear dead.
_TIMEOUT_S = 2.0
_SILENT = "Triton does not answer. Retry later."


@router.get("/health")
async def health(state: CurrentState) -> JSONResponse:
    """`status` is `ok`, or `unavailable` with 503 if Triton does not answer. `message` reports what the default model
    lacks, such as its weights."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            index = await state.triton.index()
    except (SpeechError, TimeoutError) as error:
        message = error.message if isinstance(error, SpeechError) else _SILENT
        return JSONResponse({"status": "unavailable", "message": message, "models": {}}, 503)
    models = {name: _model(state, name, status) for name, status in index.items() if _is_speech(state, name)}
    pending = state.admission.pending
    waiting = state.admission.fair_queue.waiting
    counts = {"pending_requests": pending, "waiting_requests": waiting}
    fields = {"status": "ok", **await _hindrance(state, index)}
    return JSONResponse({**fields, **_single_file_fields(state, models), **counts, "models": models})


@router.get("/live")
async def live() -> dict[str, str]:
    """Liveness of the frontend."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(state: CurrentState) -> dict[str, str]:
    """Readiness: whether requests can be served, with or without a loaded model; 503 if Triton is unreachable.
    `message`, as in /health, does not imply 503: a request would load the model, or receive the reason."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            is_live = await state.triton.is_live()
    except TimeoutError:
        is_live = False
    if not is_live:
        raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, _SILENT)
    with suppress(SpeechError, TimeoutError):
        async with asyncio.timeout(_TIMEOUT_S):
            return {"status": "ok", **await _hindrance(state, await state.triton.index())}
    return {"status": "ok"}


async def _hindrance(state: State, index: Mapping[str, ModelStatus]) -> dict[str, str]:
    """A `message` if the default model's last load has failed, or its next one is likely to fail or take long."""
    name = state.catalog.main_model
    status = index.get(name)
    if status is None:
        return {"message": f"Triton has no model '{name}' in its repository. Check DEFAULT_MODEL."}
    if status.state is ModelState.FAILED:
        return {"message": f"The last load of '{name}' failed: {failure_reason(status.reason)}"}
    checkpoint = state.settings.checkpoints().get(name, "")
    if status.state is not ModelState.UNLOADED or name not in _CHECKPOINT_VARIABLES:
        return {}
    if await asyncio.to_thread(weights_of, checkpoint):
        return {}
    message = (
        f"The weights of {checkpoint} are not on this machine. The first request downloads them from the Hugging Face "
        f"hub, if it can be reached; or set MODEL_ID or {_CHECKPOINT_VARIABLES[name]} to a checkpoint folder."
    )
    return {"message": message}


def _is_speech(state: State, name: str) -> bool:
    is_aligner = name == ALIGNER.name and bool(state.settings.aligner_model_id)
    return is_aligner or name in MODELS or name in state.settings.model_names.values()


def _model(state: State, name: str, status: ModelStatus) -> dict[str, Any]:
    ready = status.state is ModelState.READY
    started = state.facts.started(name) if ready else None
    idle_s = state.lifecycle.idle_s(name) if ready else None
    unload_in_s = state.lifecycle.unload_in_s(name) if ready else None
    # Triton unloads a model when its last stream has ended, but reports it as unloading from the start.
    draining = status.state is ModelState.UNLOADING and state.lifecycle.leases(name)
    fields = {
        "state": "draining" if draining else status.state,
        "checkpoint": started.checkpoint if started else state.settings.checkpoints().get(name),
        "device": started.device if started else None,
        "gpu_memory_bytes": started.gpu_memory_bytes if started else None,
        "notes": list(started.notes) if started else [],
        "idle_s": None if idle_s is None else round(idle_s, 1),
        "unload_in_s": None if unload_in_s is None else round(unload_in_s, 1),
        "speakers": list(state.facts.speakers(name)),
    }
    return {**fields, **state.facts.public(name)}


def _single_file_fields(state: State, models: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The fields of the single-file server, for the model that serves /v1/audio/speech."""
    main = models.get(state.catalog.main_model, {})
    device = main.get("device") or ""
    fields = {
        "model_loaded": main.get("state") == ModelState.READY,
        "model_id": main.get("checkpoint"),
        "cuda": device.startswith("cuda"),
        "voices": list(state.catalog.voices),
    }
    if main.get("gpu_memory_bytes") is not None:
        mebibytes = round(main["gpu_memory_bytes"] / _MIB)
        name = device.partition(" ")[2] or device
        fields |= {"gpu_name": name, "gpu_allocated_mb": mebibytes, "gpu_reserved_mb": mebibytes}
    return fields
