"""Cached facts about Triton's models: languages, speakers, memory, and reasons for failed loads."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from openai_frontend.models.capacity import usual_bytes
from speech_client.triton import ModelState, ModelStatus
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import StartEvent
from speech_protocol.languages import LANGUAGES
from speech_protocol.models import HIBARI, QWEN3_TTS
from speech_protocol.speakers import HIBARI_DEFAULT

_NO_CHECKPOINT: Final = {ErrorCode.CHECKPOINT_UNAVAILABLE, ErrorCode.WRONG_CHECKPOINT}
_QWEN: Final = frozenset(spec.name for spec in QWEN3_TTS)


class ModelFacts:
    """The last start event of each model, and configured facts until there is one.

    `checkpoints`: each model's configured checkpoint. `unavailable`: models that the operator has disabled, with the
    reason. `statuses`: each model's state in Triton's last reply.
    """

    def __init__(
        self,
        checkpoints: Mapping[str, str],
        unavailable: Mapping[str, str],
        statuses: Callable[[], Mapping[str, ModelStatus]],
    ) -> None:
        self._checkpoints, self.unavailable, self._statuses = checkpoints, unavailable, statuses
        self._started: dict[str, StartEvent] = {}

    def record(self, model: str, event: StartEvent) -> None:
        """Store a start event."""
        self._started[model] = event

    def started(self, model: str) -> StartEvent | None:
        """The model's last start event; None before its first request."""
        return self._started.get(model)

    def supports_instructions(self, model: str) -> bool:
        """Whether instructions have an effect on the model's checkpoint; true before its first request."""
        event = self._started.get(model)
        return event is None or event.supports_instructions

    def gpu_bytes(self, model: str) -> int:
        """GPU memory of a model in bytes: as last reported, else the usual value for its checkpoint; 0 if it uses
        none."""
        if event := self._started.get(model):
            return event.gpu_memory_bytes or 0
        return usual_bytes(self._checkpoints.get(model, ""))

    def languages(self, model: str) -> tuple[str, ...]:
        """The languages of the model: as reported, else those of its kind; empty if unknown."""
        if (event := self._started.get(model)) and event.languages:
            return event.languages
        if model == HIBARI.name:
            return ("english",)
        return LANGUAGES if model in _QWEN else ()

    def speakers(self, model: str) -> tuple[str, ...]:
        """The built-in speakers on the model's machine, as far as they are known before a load."""
        if (event := self._started.get(model)) and event.speakers:
            return event.speakers
        return (HIBARI_DEFAULT,) if model == HIBARI.name else ()

    def why_unavailable(self, model: str) -> str | None:
        """Why requests to the model fail: the operator's reason, or the last load's error; None if they can be
        served."""
        if reason := self.unavailable.get(model):
            return reason
        status = self._statuses().get(model)
        return failure_reason(status.reason) if status and status.state is ModelState.FAILED else None

    def missing_checkpoint(self, model: str) -> str | None:
        """What is missing, if the last load of the model found no checkpoint, or the operator has disabled it."""
        if reason := self.unavailable.get(model):
            return reason
        status = self._statuses().get(model)
        error = SpeechError.from_text(status.reason) if status and status.state is ModelState.FAILED else None
        return error.message if error and error.code in _NO_CHECKPOINT else None

    def public(self, model: str) -> dict[str, Any]:
        """The fields of the model in lists."""
        reason = self.why_unavailable(model)
        fields = {"languages": list(self.languages(model)), "available": reason is None}
        return fields if reason is None else {**fields, "reason": reason}


def failure_reason(text: str) -> str:
    """The reason for a failed load, without the paths and line numbers that Triton adds."""
    error = SpeechError.from_text(text)
    return error.message if error else text.strip().partition("\n")[0]
