"""Triton's replies to `generate_stream`: server-sent events whose data are our responses, or errors as free text."""

import base64
import json
from collections.abc import Iterator

from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import ErrorEvent, Event, parse_event


class EventLines:
    """Splits the chunks of a body, of any size, into the payloads of its `data:` lines, of any length."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The payloads that `piece` completes."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return (line[5:] for line in lines if line.startswith(b"data:"))


def read_response(data: bytes, model: str) -> tuple[Event, bytes]:
    """The event of one response of `model`, and PCM with an audio event. Raises SpeechError if it is an error."""
    fields = json.loads(data)
    if "error" in fields:
        raise error_from_triton(fields["error"], model)
    event = parse_event(_scalar(fields["EVENT"]))
    if isinstance(event, ErrorEvent):
        raise event.to_error()
    return event, base64.b64decode(_scalar(fields["AUDIO"]))


def error_of_body(body: str) -> str:
    """The error text in the body of a reply that is not a stream."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:500]


def error_from_triton(text: str, model: str) -> SpeechError:
    """The SpeechError for an error text of Triton: the code inside it, else MODEL_UNAVAILABLE."""
    if error := SpeechError.from_text(text):
        return error
    if "restricted" in text and "API" in text:
        message = "Triton refuses the call. Set the same TRITON_CONTROL_KEY for Triton and the frontend."
        return SpeechError(ErrorCode.MODEL_UNAVAILABLE, message)
    if "parse" in text and "JSON" in text:
        return SpeechError(
            ErrorCode.INVALID_REQUEST,
            "Triton could not parse the request. Send the inputs that its model configuration lists.",
        )
    if "is not healthy" in text:
        # Triton's text for a model whose process crashed; only an unload and a load recover it.
        return SpeechError(
            ErrorCode.MODEL_DIED, f"The model '{model}' crashed and is being restarted. Retry in a moment."
        )
    # Triton's text may contain paths and tracebacks of the server; only its first line is useful to a client.
    detail = text.strip().splitlines()[0] if text.strip() else "no reason given"
    return SpeechError(
        ErrorCode.MODEL_UNAVAILABLE,
        f"The model '{model}' is not available: {detail.rstrip('.')}. Triton's log says more. Try again in a moment.",
    )


def _scalar(value: str | list[str]) -> str:
    """Triton writes a tensor of one element as a scalar, an empty one as a list."""
    if isinstance(value, str):
        return value
    return value[0] if value else ""
