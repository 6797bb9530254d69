"""Public names to what Triton knows: which model serves a request, and which of its speakers."""

import re
from typing import Final

from openai_frontend.errors import ApiError, invalid
from openai_frontend.settings import Settings
from openai_frontend.voices.names import OPENAI_VOICES, SPEAKERS
from speech_protocol.models import HIBARI, MODELS, QWEN3_TTS, QWEN3_TTS_BASE, Task

_QWEN_SPEAKERS: Final = frozenset(speaker.name for speaker in SPEAKERS)
_OPENAI_MODELS: Final = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
_OPENAI_DATED: Final = re.compile(r"(tts-1|tts-1-hd|gpt-4o-mini-tts)-(\d{4}|\d{4}-\d{2}-\d{2})")
_PLAIN_NAME: Final = "qwen3-tts"


class Catalog:
    """The public names of one server."""

    def __init__(self, settings: Settings) -> None:
        self.main_model = settings.main_model()
        self._default_voice = settings.default_voice
        self._speakers = {**{speaker.name: speaker.name for speaker in SPEAKERS}, **OPENAI_VOICES}
        self._speakers |= {name.lower(): speaker for name, speaker in settings.voice_names.items()}
        checkpoints = {checkpoint: model for model, checkpoint in settings.checkpoints().items()}
        own = {name: name for name in MODELS}
        self._models = {**checkpoints, **own, **settings.model_names}
        self._aliases = (*_OPENAI_MODELS, _PLAIN_NAME)

    @property
    def voices(self) -> tuple[str, ...]:
        """Every public voice name."""
        return tuple(self._speakers)

    @property
    def models(self) -> tuple[str, ...]:
        """Every public model name, OpenAI's first."""
        return (*self._aliases, *self._models)

    def model(self, name: str | None) -> str:
        """The Triton model of a public model name. Raises ApiError 404."""
        if name is None or name in self._aliases or _OPENAI_DATED.fullmatch(name):
            return self.main_model
        if name in self._models:
            return self._models[name]
        message = f"The model '{name}' does not exist. Use one of: {', '.join(self.models)}."
        raise ApiError(404, "model_not_found", message, param="model")

    def speech_model(self, name: str | None) -> str:
        """The Triton model for a request without reference audio. Raises ApiError."""
        model = self.model(name)
        if _task(model) is Task.CLONE:
            message = f"'{model}' has no built-in voices, it clones: send reference audio to /v1/audio/speech/clone."
            raise invalid("model", message, "unsupported_task")
        return model

    def task_model(self, name: str | None, task: Task) -> str:
        """The Triton model that does `task`, of the family that a public model name means. Raises ApiError."""
        model = self.model(name)
        if _task(model) in {task, None}:
            return model
        fitting = next(spec.name for spec in QWEN3_TTS if spec.task is task)
        if name in self._models:
            message = f"'{name}' cannot do that. Use '{fitting}', or send no model at all."
            raise invalid("model", message, "unsupported_task")
        return fitting

    def clone_model(self, name: str | None) -> str:
        """The Triton model for a request with reference audio. Raises ApiError."""
        model = self.model(name)
        if model == self.main_model and name not in self._models:
            return model if _task(model) is Task.CLONE else QWEN3_TTS_BASE.name
        if _task(model) not in {Task.CLONE, None}:
            message = f"'{model}' cannot clone a voice. Use '{QWEN3_TTS_BASE.name}', or send no model at all."
            raise invalid("model", message, "unsupported_task")
        return model

    def speaker(self, voice: str | None, model: str) -> str | None:
        """The speaker that `voice` means on `model`; an unknown name passes through, for the model to accept or not."""
        name = (voice or self._default_voice).strip().lower().replace(" ", "_")
        speaker = self._speakers.get(name, name)
        if _task(model) is Task.VOICE_DESIGN:
            return None
        # The embedded voice stands in for each of Qwen's.
        return None if model == HIBARI.name and speaker in _QWEN_SPEAKERS else speaker

    def needs_instructions(self, model: str) -> bool:
        """True where the instructions are the voice."""
        return _task(model) is Task.VOICE_DESIGN


def _task(model: str) -> Task | None:
    """None for a model of the operator's own (`MODEL_NAMES`): its engine decides."""
    return MODELS[model].task if model in MODELS else None
