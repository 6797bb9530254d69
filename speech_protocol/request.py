"""A synthesis request on the wire: one frozen value with a field for each input tensor."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final, Self

from speech_protocol.audio import SAMPLE_BYTES
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.languages import AUTO, parse_language

Value = str | int | float | bool
# Each part of a blend is a whole recording, and all of them are sent in one message.
MAX_BLEND_PARTS: Final = 4
MAX_STREAM_ID_CHARS: Final = 128
MAX_ADDED_CHARS: Final = 4096  # of one request to an open stream
_NO_TENSORS: Final = {"request_id", "traceparent"}


class StreamAction(StrEnum):
    """What a request does to a text that is written while it is spoken."""

    OPEN = "open"
    APPEND = "append"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class BlendPart:
    """One voice of a blend: PCM as in `ref_audio`, and its weight, over 0; weights need not sum to 1."""

    audio: bytes
    weight: float


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """What to synthesize and how. None means the engine's default; each field but the last two is the tensor of its
    name. `ref_audio` is PCM (s16le, mono, 24 kHz), already decoded and checked: an engine never receives a file name or
    a URL. `ref_blend` replaces it: several voices whose x-vectors are averaged.

    `stream_action` is about a text that is still being written: `open` starts the utterance `stream_id`; requests with
    `append` and `close` add text to it, and are answered by an end event.
    """

    text: str
    language: str = AUTO
    speaker: str | None = None
    instruct: str | None = None
    ref_audio: bytes | None = None
    ref_text: str | None = None
    x_vector_only: bool | None = None
    ref_blend: tuple[BlendPart, ...] | None = None
    seed: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    max_audio_seconds: float | None = None
    stream_id: str | None = None
    stream_action: str | None = None
    request_id: str = ""
    traceparent: str = ""

    def to_tensors(self) -> dict[str, Value]:
        """Tensor name to value, without absent fields; JSON-ready, and readable by `from_tensors`."""
        names = (field.name for field in fields(self) if field.name not in _NO_TENSORS)
        values = {name.upper(): getattr(self, name) for name in names}
        if self.ref_audio is not None:
            values["REF_AUDIO"] = base64.b64encode(self.ref_audio).decode("ascii")
        if self.ref_blend is not None:
            values["REF_BLEND"] = _encode_blend(self.ref_blend)
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_tensors(cls, values: Mapping[str, Any], request_id: str = "", traceparent: str = "") -> Self:
        """Build and check a request from tensor values. Raises SpeechError that names the invalid field."""
        known = {field.name for field in fields(cls)} - _NO_TENSORS
        arguments = {name.lower(): value for name, value in values.items() if name.lower() in known}
        arguments["ref_audio"] = _decode_pcm("ref_audio", arguments.get("ref_audio"))
        arguments["ref_blend"] = _decode_blend(arguments.get("ref_blend"))
        if isinstance(language := arguments.get("language"), str):
            # Unknown languages are rejected by the engine, which has its own list.
            arguments["language"] = parse_language(language) or language
        request = cls(**arguments, request_id=request_id, traceparent=traceparent)
        request._check()
        return request

    @property
    def is_addition(self) -> bool:
        """Whether it adds text to an utterance instead of starting one."""
        return self.stream_action in {StreamAction.APPEND, StreamAction.CLOSE}

    def _check(self) -> None:
        self._check_stream()
        if not self.text.strip() and not self.is_addition:
            raise SpeechError(ErrorCode.INVALID_REQUEST, "The text is empty. Send at least one word.", "text")
        if self.ref_blend is not None and (self.ref_audio is not None or self.ref_text):
            message = "A blend has its voices in ref_blend and no transcript. Send neither ref_audio nor ref_text."
            raise SpeechError(ErrorCode.INVALID_REQUEST, message, "ref_blend")
        _check_range("temperature", self.temperature, 0.0, 10.0)
        _check_range("top_k", self.top_k, 0, 100_000)
        _check_range("top_p", self.top_p, 0.0, 1.0)
        _check_range("repetition_penalty", self.repetition_penalty, 0.1, 10.0)
        _check_range("max_audio_seconds", self.max_audio_seconds, 0.08, 86_400.0)

    def _check_stream(self) -> None:
        if self.stream_action is None and self.stream_id is None:
            return
        if self.stream_action not in set(StreamAction):
            message = f"stream_action is '{self.stream_action}'; it must be one of {', '.join(StreamAction)}."
            raise SpeechError(ErrorCode.INVALID_REQUEST, message, "stream_action")
        if not self.stream_id or len(self.stream_id) > MAX_STREAM_ID_CHARS:
            message = f"stream_id is empty or too long. Send 1 to {MAX_STREAM_ID_CHARS} characters."
            raise SpeechError(ErrorCode.INVALID_REQUEST, message, "stream_id")
        if len(self.text) > MAX_ADDED_CHARS:
            message = f"The text has more than {MAX_ADDED_CHARS} characters. Send the rest in another request."
            raise SpeechError(ErrorCode.INVALID_REQUEST, message, "text")


def _check_range(name: str, value: float | None, low: float, high: float) -> None:
    # "not (low <= value <= high)" also refuses NaN.
    if value is not None and not low <= value <= high:
        raise SpeechError(ErrorCode.INVALID_REQUEST, f"{name} is {value}; it must be {low} to {high}.", name)


def _decode_pcm(name: str, value: str | None) -> bytes | None:
    if not value:
        return None
    try:
        pcm = base64.b64decode(value, validate=True)
    except binascii.Error as error:
        message = f"{name.upper()} is not base64: {error}. Send base64 of PCM."
        raise SpeechError(ErrorCode.INVALID_REFERENCE_AUDIO, message, name) from error
    if len(pcm) % SAMPLE_BYTES:
        message = f"{name.upper()} holds half a sample at its end. Send whole samples of 16 bits."
        raise SpeechError(ErrorCode.INVALID_REFERENCE_AUDIO, message, name)
    return pcm


def _encode_blend(parts: tuple[BlendPart, ...]) -> str:
    return json.dumps([{"audio": base64.b64encode(part.audio).decode(), "weight": part.weight} for part in parts])


def _decode_blend(value: str | None) -> tuple[BlendPart, ...] | None:
    if not value:
        return None
    try:
        parts = tuple(
            BlendPart(_decode_pcm("ref_blend", part["audio"]) or b"", float(part["weight"]))
            for part in json.loads(value)
        )
    except (ValueError, KeyError, TypeError) as error:
        message = 'REF_BLEND is not a list of voices. Send one like [{"audio": "base64 of PCM", "weight": 1}].'
        raise SpeechError(ErrorCode.INVALID_REQUEST, message, "ref_blend") from error
    if not 1 <= len(parts) <= MAX_BLEND_PARTS:
        message = f"A blend has 1 to {MAX_BLEND_PARTS} voices, this one has {len(parts)}."
        raise SpeechError(ErrorCode.INVALID_REQUEST, message, "ref_blend")
    for part in parts:
        _check_range("ref_blend", part.weight, 1e-6, 1e6)
    return parts
