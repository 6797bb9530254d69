"""Stable error codes, and their form inside Triton's free-text errors.

Triton answers 400 for every error of `generate_stream`, so the status does not identify the error; the code in brackets
at the start of the text does: `[unknown_speaker:speaker] 'bob' is not a speaker of this model. Use one of: ...`.
"""

import re
from enum import StrEnum
from typing import Self


class ErrorCode(StrEnum):
    """The kind of failure, independent of its message. The frontend maps each to one HTTP status."""

    INVALID_REQUEST = "invalid_request"
    UNSPEAKABLE_TEXT = "unspeakable_text"
    UNKNOWN_SPEAKER = "unknown_speaker"
    UNSUPPORTED_LANGUAGE = "unsupported_language"
    UNSUPPORTED_TASK = "unsupported_task"
    INVALID_REFERENCE_AUDIO = "invalid_reference_audio"
    QUEUE_FULL = "queue_full"
    BUSY = "busy"
    CHECKPOINT_UNAVAILABLE = "checkpoint_unavailable"
    WRONG_CHECKPOINT = "wrong_checkpoint"
    OUT_OF_MEMORY = "out_of_memory"
    MODEL_NOT_FOUND = "model_not_found"
    MODEL_UNAVAILABLE = "model_unavailable"
    MODEL_DIED = "model_died"
    SHUTTING_DOWN = "shutting_down"
    ENGINE_FAILURE = "engine_failure"

    @classmethod
    def parse(cls, text: str) -> "ErrorCode | None":
        """The code with that value; None for an unknown code (of a newer model) or an empty text."""
        return cls(text) if text in cls._value2member_map_ else None


_TEXT = re.compile(r"\[(?P<code>[a-z_]+)(?::(?P<param>[a-z_]+))?\] (?P<message>.*?)(?=\n\nAt:|$)", re.DOTALL)


class SpeechError(Exception):
    """A failure with a stable code, a message that says what to do, and the request field that it concerns, if any."""

    def __init__(self, code: ErrorCode, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param

    def to_text(self) -> str:
        """The error as one text, for replies of Triton that carry only text."""
        head = f"{self.code}:{self.param}" if self.param else str(self.code)
        return f"[{head}] {self.message}"

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """Find an error that `to_text` wrote inside `text`; None if there is none (one of Triton's own errors)."""
        for match in _TEXT.finditer(text):
            if code := ErrorCode.parse(match["code"]):
                return cls(code, match["message"].strip(), match["param"])
        return None
