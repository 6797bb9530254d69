"""The frontend's exceptions, and the table from a failure to an OpenAI-shaped error.

Every failure is sent as `{"error": {"message", "type", "param", "code"}}`, all four keys, with its status.
"""

import json
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from speech_protocol.errors import ErrorCode, SpeechError

logger = logging.getLogger(__name__)

_NO_RETRY: Final = {"x-should-retry": "false"}
_RETRY_SOON: Final = {"Retry-After": "2"}
# Maximum length of a path in a message.
_SHOWN_CHARS: Final = 100


class ApiError(Exception):
    """A failure as sent to the client."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})

    def __reduce__(self) -> tuple[Any, ...]:
        # With its keyword arguments, which pickle would lose: the error may come from another process.
        return partial(ApiError, param=self.param, headers=self.headers), (self.status, self.code, self.message)

    def body(self) -> dict[str, Any]:
        """The JSON body of the reply."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        kind = "rate_limit_error" if self.status == 429 else kind
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def to_response(self) -> JSONResponse:
        """The HTTP response for the error."""
        return JSONResponse(self.body(), self.status, self.headers)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with it from a middleware; a WebSocket is closed before it opens, which the server answers with
        403."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": self.code})
            return
        scope.setdefault("state", {})["error_code"] = self.code
        await self.to_response()(scope, receive, send)


def invalid(param: str, message: str, code: str = "invalid_value") -> ApiError:
    """An error 400 about one field of the request."""
    return ApiError(400, code, message, param=param)


def too_large(limit_bytes: int) -> ApiError:
    """413 for a request body."""
    return ApiError(413, "request_too_large", f"The request body is over {limit_bytes} bytes. Send a smaller one.")


def compressed(encoding: str) -> ApiError:
    """415 for a compressed body."""
    message = f"The body is compressed (Content-Encoding: {encoding[:40]}). Send it uncompressed."
    return ApiError(415, "unsupported_content_encoding", message, headers={"Accept-Encoding": "identity"})


def upload_too_large(param: str, limit_bytes: int) -> ApiError:
    """413 for a recording."""
    message = f"The recording is over {limit_bytes} bytes. Send a shorter one, or a compressed one."
    return ApiError(413, "request_too_large", message, param=param)


def timed_out(seconds: float) -> ApiError:
    """504 without audio in time."""
    message = f"No audio for {seconds:g} seconds. Send a shorter input, or raise REQUEST_TIMEOUT on the server."
    return ApiError(504, "timeout", message, headers=_NO_RETRY)


# Engine failures. `x-should-retry: false` marks those that the same request would encounter again.
_SPEECH_ERRORS: Final[Mapping[ErrorCode, tuple[int, Mapping[str, str]]]] = {
    ErrorCode.INVALID_REQUEST: (400, {}),
    ErrorCode.UNSPEAKABLE_TEXT: (400, {}),
    ErrorCode.UNKNOWN_SPEAKER: (400, {}),
    ErrorCode.UNSUPPORTED_LANGUAGE: (400, {}),
    ErrorCode.UNSUPPORTED_TASK: (400, {}),
    ErrorCode.INVALID_REFERENCE_AUDIO: (400, {}),
    ErrorCode.QUEUE_FULL: (503, _RETRY_SOON),
    ErrorCode.BUSY: (503, _RETRY_SOON),
    ErrorCode.CHECKPOINT_UNAVAILABLE: (503, _NO_RETRY),
    ErrorCode.WRONG_CHECKPOINT: (503, _NO_RETRY),
    ErrorCode.OUT_OF_MEMORY: (503, _RETRY_SOON),
    ErrorCode.MODEL_NOT_FOUND: (404, {}),
    ErrorCode.MODEL_UNAVAILABLE: (503, _RETRY_SOON),
    ErrorCode.MODEL_DIED: (503, _RETRY_SOON),
    ErrorCode.SHUTTING_DOWN: (503, _RETRY_SOON),
    ErrorCode.ENGINE_FAILURE: (500, {}),
}
# The wire's field names and those of the API.
_PARAMS: Final = {"text": "input", "speaker": "voice", "instruct": "instructions", "ref_blend": "voice"}


def from_speech_error(error: SpeechError, retry_after_s: int | None = None) -> ApiError:
    """A failure of an engine or of Triton as an HTTP error, with the seconds to wait if they are known."""
    status, headers = _SPEECH_ERRORS[error.code]
    if retry_after_s is not None:
        headers = {"Retry-After": str(retry_after_s)}
    param = _PARAMS.get(error.param or "", error.param)
    message = error.message
    if error.code is ErrorCode.UNKNOWN_SPEAKER:
        message += " OpenAI's voice names work too. GET /v1/audio/voices lists all."
    return ApiError(status, str(error.code), message, param=param, headers=headers)


def from_exception(error: Exception) -> ApiError:
    """Any exception as an HTTP error; an unexpected one is logged with its traceback and answered without details."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, SpeechError):
        return from_speech_error(error)
    if isinstance(error, RequestValidationError):
        return _from_validation(error)
    if isinstance(error, HTTPException):
        if isinstance(error.__cause__, UnicodeDecodeError):
            return _invalid_json(f"byte {error.__cause__.start} is not UTF-8")
        message = f"The request could not be read: {str(error.detail).rstrip('.')}. Send it as /openapi.json describes."
        return ApiError(error.status_code, "http_error", message, headers=error.headers)
    logger.error("unhandled exception", exc_info=error)
    return ApiError(500, "internal_error", "Internal server error. See the server's log.", headers=_NO_RETRY)


def _of_route(request: Request, error: Exception) -> ApiError | None:
    """The advice for a path or a method that is not served."""
    if not isinstance(error, HTTPException) or error.status_code not in {404, 405}:
        return None
    path = request.url.path[:_SHOWN_CHARS]
    if error.status_code == 404:
        return ApiError(404, "not_found", f"There is no route {path}. GET /openapi.json lists all.")
    allowed = (error.headers or {}).get("allow", "another method")
    message = f"{path} does not take {request.method[:_SHOWN_CHARS]}. Use {allowed}."
    return ApiError(405, "method_not_allowed", message, headers=error.headers)


# pydantic's error types; any other one is an error of type.
_VALIDATION_CODES: Final = {
    "missing": "missing_required_parameter",
    "string_too_long": "string_above_max_length",
    "too_long": "string_above_max_length",
    **dict.fromkeys(
        ("literal_error", "greater_than_equal", "less_than_equal", "less_than", "value_error"), "invalid_value"
    ),
}


def _from_validation(error: RequestValidationError) -> ApiError:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _invalid_json(_json_problem(first))
    # A union's location includes its members: keep the field, drop pydantic's parts in brackets.
    path = [str(part) for part in first["loc"] if part not in {"body", "query", "path"}]
    param = path[0] if path else None
    code = _VALIDATION_CODES.get(first["type"], "invalid_type")
    if param is None:  # the body was not understood at all, often because of its media type
        return ApiError(400, code, "The body is not a JSON object. Send one, with Content-Type: application/json.")
    if first["type"] == "is_instance_of" or "UploadFile" in first["msg"]:
        return ApiError(400, "invalid_type", f"{param}: Send a file, in a form of multipart/form-data.", param=param)
    if code == "missing_required_parameter":
        return ApiError(400, code, f"{param} is missing. Send it.", param=param)
    problem = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return ApiError(400, code, f"{param} {problem}.", param=param)


def _invalid_json(problem: str) -> ApiError:
    message = f"The body is not valid JSON{problem and ': '}{problem}. Send JSON in UTF-8."
    return ApiError(400, "invalid_json", message)


def _json_problem(error: Mapping[str, Any]) -> str:
    """The problem and its position, as far as the parser reports it."""
    reason, position = error.get("ctx", {}).get("error", ""), error["loc"][-1]
    return f"{reason}, at character {position}" if reason and isinstance(position, int) else str(reason)


def sse_error(error: Exception) -> bytes:
    """A failure within an open event stream."""
    return f"event: error\ndata: {json.dumps(from_exception(error).body())}\n\n".encode()


def install(app: FastAPI) -> None:
    """Send every failure of `app` in OpenAI's format."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        failure = _of_route(request, error) or from_exception(error)
        request.state.error_code = failure.code
        return failure.to_response()

    # Every other exception is handled by FailureMiddleware.
    for kind in (ApiError, SpeechError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, handle)
