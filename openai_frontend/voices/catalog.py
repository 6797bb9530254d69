"""Resolves public names: the Triton model and the voice of a request.

The voice selects the variant: the CustomVoice model (or the embedded voice's) serves built-in speakers, the Base model
serves voices of the library. A request that names a checkpoint or a Triton model gets that model, or an error that
names a suitable one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from openai_frontend.errors import ApiError, invalid
from openai_frontend.settings import Settings
from openai_frontend.voices.blend import is_blend, parse_blend
from openai_frontend.voices.library import Library
from openai_frontend.voices.names import OPENAI_VOICES, SPEAKERS, fold
from openai_frontend.voices.records import Voice
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.models import HIBARI, MODELS, QWEN3_TTS, QWEN3_TTS_CUSTOM_VOICE, Task, speakers_of_checkpoint
from speech_protocol.speakers import HIBARI_SPEAKERS, HIBARI_STAND_INS

_OPENAI_MODELS: Final = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
_OPENAI_DATED: Final = re.compile(r"(tts-1|tts-1-hd|gpt-4o-mini-tts)-(\d{4}|\d{4}-\d{2}-\d{2})")
_PLAIN_NAME: Final = "qwen3-tts"
_VOICE_ID: Final = re.compile(r"voice_[0-9a-f]{32}")
# The number of library names that an error message lists.
_LISTED: Final = 20
_WHAT: Final = {
    Task.CUSTOM_VOICE: "has no built-in voices",
    Task.CLONE: "cannot clone a voice",
    Task.VOICE_DESIGN: "cannot create a voice from a description",
}


@dataclass(frozen=True, slots=True)
class WeightedVoice:
    """A voice of the library; the weights of the voices of a request sum to 1."""

    voice: Voice
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """What serves a request: a Triton model, and one of its speakers or voices of the library; several voices are a
    blend. With neither, the model has a voice of its own, or the request supplies a recording or a description."""

    model: str
    speaker: str | None = None
    voices: tuple[WeightedVoice, ...] = ()

    @property
    def needs_instructions(self) -> bool:
        """Whether the instructions describe the voice."""
        return _task(self.model) is Task.VOICE_DESIGN


class Catalog:
    """The public names of one server."""

    def __init__(self, settings: Settings, library: Library) -> None:
        self.main_model = settings.main_model()
        self._library = library
        self._default_voice = settings.default_voice
        self._built_in = {**{speaker.name: speaker.name for speaker in SPEAKERS}, **OPENAI_VOICES}
        self._mapped = {fold(name): meant for name, meant in settings.voice_names.items()}
        checkpoints = settings.checkpoints()
        own = {name: name for name in MODELS}
        self._models = {**{name: model for model, name in checkpoints.items()}, **own, **settings.model_names}
        self._aliases = (*_OPENAI_MODELS, _PLAIN_NAME)
        self._qwen_speakers = _speakers_of(checkpoints[QWEN3_TTS_CUSTOM_VOICE.name])
        self._unavailable = settings.unavailable_models

    @property
    def voices(self) -> tuple[str, ...]:
        """Every public voice name outside the library."""
        return self.voices_of(None)

    def voices_of(self, model: str | None) -> tuple[str, ...]:
        """The same, with the speakers of a model first. Raises ApiError 404 for an unknown model."""
        is_hibari = self.model(model) == HIBARI.name
        own = tuple(speaker.name for speaker in HIBARI_SPEAKERS) if is_hibari else self._qwen_speakers or ()
        return tuple(dict.fromkeys((*own, *self._built_in, *self._mapped)))

    def is_particular(self, model: str | None) -> bool:
        """Whether a model name selects one model, instead of letting the voice decide."""
        return model in self._models

    @property
    def triton_models(self) -> tuple[str, ...]:
        """The Triton models behind the public names."""
        return tuple(dict.fromkeys(self._models.values()))

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

    def meant(self, voice: str) -> str:
        """The meaning of a name according to `VOICE_NAMES`."""
        return self._mapped.get(fold(voice), voice)

    def speaker(self, voice: str) -> str | None:
        """The built-in speaker of a name; None for other names."""
        return self._built_in.get(fold(self.meant(voice)))

    def is_built_in(self, voice: str | None) -> bool:
        """Whether a voice (none: the server's default) is resolved without the library."""
        return self.speaker(voice or self._default_voice) is not None

    def check_new_name(self, name: str) -> None:
        """Raise ApiError 400 if a new voice of this name could not be used."""
        if fold(name) in self.voices:
            message = f"'{name}' is reserved for a built-in voice. Choose another one, or map it to the new voice "
            raise invalid("name", message + "with VOICE_NAMES on the server.", "voice_name_taken")

    def resolve(
        self, model: str | None, voice: str | None, task: Task | None = None, *, owner: str | None = None
    ) -> Target:
        """What serves a request with these names, among the voices of `owner`. `task` is the task that the request
        implies, if any: `CLONE` without a voice means that it contains a recording. Raises ApiError, or SpeechError for
        a model that can't be loaded here."""
        asked = _task(self.model(model))
        own = voice is None and task in {Task.CLONE, Task.VOICE_DESIGN}
        found = None if own else self._find(voice, owner)
        if voice is None and isinstance(found, tuple) and model in self._models and asked is not Task.CLONE:
            found = None  # the default voice applies to models that support it
        if isinstance(found, tuple):
            return Target(self._loadable(self._serving(model, task or Task.CLONE, found, owner)), voices=found)
        task = task or (Task.VOICE_DESIGN if asked is Task.VOICE_DESIGN else Task.CUSTOM_VOICE)
        serving = self._loadable(self._serving(model, task, found, owner))
        speaker = self._speaker(found, voice or self._default_voice, serving, owner)
        return Target(serving, speaker if task is Task.CUSTOM_VOICE else None)

    def _find(self, name: str | None, owner: str | None) -> str | tuple[WeightedVoice, ...]:
        """The voices of the library, or the speaker, of a name; any other name may be a speaker that only the model
        knows. Raises ApiError 400."""
        voice = name or self._default_voice
        meant = self.meant(voice)
        if speaker := self.speaker(voice):
            return speaker
        # Names set by the operator are available to every key.
        own = self._library.find_any if meant != voice or not name else partial(self._library.find, owner=owner)
        if found := own(meant):
            return (WeightedVoice(found),)
        if is_blend(meant):
            return tuple(
                WeightedVoice(self._blendable(part.name, own, owner), part.weight) for part in parse_blend(meant)
            )
        if _VOICE_ID.fullmatch(meant):
            raise self._unknown(meant, owner)
        return fold(meant)

    def _blendable(self, name: str, own: Callable[[str], Voice | None], owner: str | None) -> Voice:
        if self.speaker(name):
            message = f"'{name}' is a built-in voice. Use cloned and designed voices only in a blend."
            raise invalid("voice", message, "unsupported_task")
        meant = self.meant(name)
        voice = own(meant) if meant == name else self._library.find_any(meant)
        if voice is None:
            raise self._unknown(name, owner)
        return voice

    def _serving(
        self, name: str | None, task: Task, voice: str | tuple[WeightedVoice, ...] | None, owner: str | None
    ) -> str:
        """The Triton model for `task`: the model `name`, or another variant. Raises ApiError 400."""
        model = self.model(name)
        by_name = name in self._models
        own = _task(model) is None and (by_name or task is Task.CUSTOM_VOICE)
        if own or _task(model) is task:
            return model
        if isinstance(voice, str) and voice not in self._built_in.values():
            raise self._unknown(voice, owner)
        if isinstance(voice, tuple) and task is not Task.CLONE:
            message = f"'{voice[0].voice.name}' is a cloned voice. Omit task_type, or send 'Base'."
            raise invalid("voice", message, "unsupported_task")
        fitting = next(spec.name for spec in QWEN3_TTS if spec.task is task)
        if by_name:
            message = f"'{name}' {_WHAT[task]}. Use '{fitting}', or 'tts-1', which selects the model from the voice."
            if _task(model) is Task.CLONE:
                message += " It clones voices: use a stored voice, or send reference audio to /v1/audio/speech/clone."
            raise invalid("model", message, "unsupported_task")
        return fitting

    def _loadable(self, model: str) -> str:
        """`model`. Raises SpeechError if the operator has marked it as unavailable."""
        if reason := self._unavailable.get(model):
            raise SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, reason)
        return model

    def _speaker(self, speaker: str | None, voice: str, model: str, owner: str | None) -> str | None:
        """The speaker of `model` for a name. Raises ApiError 400 if the model is known to have no such speaker."""
        if model == HIBARI.name and (name := fold(self.meant(voice))) in HIBARI_STAND_INS:
            return name  # its speakers replace it
        known = self._qwen_speakers if model == QWEN3_TTS_CUSTOM_VOICE.name else None
        if speaker is not None and known is not None and speaker not in known:
            raise self._unknown(speaker, owner)
        return speaker

    def _unknown(self, voice: str, owner: str | None) -> ApiError:
        names = [*self.voices, *(each.name for each in self._library.voices(owner)[:_LISTED])]
        message = f"There is no voice '{voice}'. Use one of: {', '.join(names)}. GET /v1/audio/voices lists all."
        return invalid("voice", message, "unknown_speaker")


def _task(model: str) -> Task | None:
    """None for a model added by the operator (`MODEL_NAMES`): its engine decides."""
    return MODELS[model].task if model in MODELS else None


def _speakers_of(checkpoint: str) -> tuple[str, ...] | None:
    """The speakers of a CustomVoice checkpoint, as far as they are known without loading it."""
    return (
        tuple(speaker.name for speaker in SPEAKERS)
        if checkpoint.startswith("Qwen/")
        else speakers_of_checkpoint(checkpoint)
    )
