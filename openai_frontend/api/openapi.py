"""What the OpenAPI document says of replies beyond what the routes show: the errors, and the audio."""

from typing import Any, Final

from pydantic import BaseModel

from openai_frontend.audio.formats import FORMATS


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Every failure, whatever its status."""

    error: ErrorDetail


_ERROR: Final = {"model": ErrorBody, "description": "What is wrong, and what to do."}
ERRORS: Final[dict[int | str, dict[str, Any]]] = {"4XX": _ERROR, "5XX": _ERROR}

_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}
_CONTENT_TYPES: Final = tuple(dict.fromkeys(each.content_type for each in FORMATS.values()))
AUDIO: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The audio, or events that carry it, sent as it is made.",
        # An event has no schema in this version of OpenAPI: docs/openai-api.md tells of them.
        "content": {**dict.fromkeys(_CONTENT_TYPES, _BYTES), "text/event-stream": {}},
    }
}
