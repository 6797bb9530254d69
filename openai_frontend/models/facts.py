"""What is known of Triton's models without asking it: their languages and speakers, and why one can't be loaded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from speech_client.triton import ModelState, ModelStatus
from speech_protocol.errors import SpeechError
from speech_protocol.events import StartEvent
from speech_protocol.languages import LANGUAGES
from speech_protocol.models import HIBARI, QWEN3_TTS
from speech_protocol.speakers import HIBARI_DEFAULT

_QWEN: Final = frozenset(spec.name for spec in QWEN3_TTS)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """`unavailable`: the operator's word on models that can't be loaded. `started`: what each model's last start event
    said. `statuses`: each model's state when Triton was last asked."""

    unavailable: Mapping[str, str]
    started: Mapping[str, StartEvent]
    statuses: Callable[[], Mapping[str, ModelStatus]]

    def languages(self, model: str) -> tuple[str, ...]:
        """What the model speaks: what it said of itself, else what its kind speaks; empty where that is unknown."""
        if (event := self.started.get(model)) and event.languages:
            return event.languages
        if model == HIBARI.name:
            return ("english",)
        return LANGUAGES if model in _QWEN else ()

    def speakers(self, model: str) -> tuple[str, ...]:
        """The built-in speakers on the model's machine, as far as they are known before it is loaded."""
        if (event := self.started.get(model)) and event.speakers:
            return event.speakers
        return (HIBARI_DEFAULT,) if model == HIBARI.name else ()

    def why_unavailable(self, model: str) -> str | None:
        """Why requests to the model fail: the operator's word, or how its last load ended; None where they may work."""
        if reason := self.unavailable.get(model):
            return reason
        status = self.statuses().get(model)
        return failure_reason(status.reason) if status and status.state is ModelState.FAILED else None

    def public(self, model: str) -> dict[str, Any]:
        """The fields that lists have about a model."""
        reason = self.why_unavailable(model)
        fields = {"languages": list(self.languages(model)), "available": reason is None}
        return fields if reason is None else {**fields, "reason": reason}


def failure_reason(text: str) -> str:
    """Why a load failed, without the paths and lines that Triton adds."""
    error = SpeechError.from_text(text)
    return error.message if error else text.strip().partition("\n")[0]
