"""The OpenAPI description of replies: errors and audio."""

from typing import Any, Final

from pydantic import BaseModel

from openai_frontend.audio.formats import FORMATS


class ErrorDetail(BaseModel):
    """The error itself, with all four keys."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every error, whatever its status."""

    error: ErrorDetail


_ERROR: Final = {"model": ErrorBody, "description": "What is wrong, and what to do."}
ERRORS: Final[dict[int | str, dict[str, Any]]] = {"4XX": _ERROR, "5XX": _ERROR}

_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}
_CONTENT_TYPES: Final = tuple(dict.fromkeys(each.content_type for each in FORMATS.values()))
AUDIO: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The audio, or events that carry it, streamed during synthesis.",
        # This version of OpenAPI has no schema for events: docs/openai-api.md describes them.
        "content": {**dict.fromkeys(_CONTENT_TYPES, _BYTES), "text/event-stream": {}},
    }
}
