"""Validation of requests against a checkpoint, the same for every Qwen3-TTS engine."""

from dataclasses import dataclass
from typing import Final

from speech_engines.qwen3_tts.checkpoint.checkpoint import Checkpoint
from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.languages import AUTO
from speech_protocol.models import QWEN3_TTS_BASE, QWEN3_TTS_CUSTOM_VOICE, QWEN3_TTS_VOICE_DESIGN, ModelSpec, Task
from speech_protocol.request import SpeechRequest

DEFAULT_SPEAKER: Final = "vivian"
MIN_REFERENCE_SAMPLES: Final = SAMPLE_RATE_HZ // 2
# Without it, the last sound of the reference leaks into the start of the utterance.
REFERENCE_SILENCE_SAMPLES: Final = SAMPLE_RATE_HZ // 2
# Below this, dividing the logits by the temperature overflows, and the result is greedy anyway.
GREEDY_TEMPERATURE: Final = 1e-3


@dataclass(frozen=True, slots=True)
class RequestRules:
    """What one Triton model can serve with one checkpoint."""

    spec: ModelSpec
    checkpoint: Checkpoint

    @property
    def speakers(self) -> tuple[str, ...]:
        """The built-in speakers of the checkpoint."""
        return self.checkpoint.speakers if self.spec.task is Task.CUSTOM_VOICE else ()

    @property
    def supports_instructions(self) -> bool:
        """Whether `INSTRUCT` has an effect."""
        by_size = self.spec.task is Task.CUSTOM_VOICE and self.checkpoint.supports_instructions
        return by_size or self.spec.task is Task.VOICE_DESIGN

    def check(self, request: SpeechRequest) -> None:
        """Raise SpeechError if the request can't be served; nothing is computed."""
        if request.language.lower() not in (AUTO, *self.checkpoint.languages):
            known = ", ".join((AUTO, *self.checkpoint.languages))
            message = f"{self.spec.name} does not speak '{request.language}'. Use one of: {known}."
            raise SpeechError(ErrorCode.UNSUPPORTED_LANGUAGE, message, "language")
        if self.spec.task is Task.CLONE:
            self._check_reference(request)
        elif request.ref_audio is not None or request.ref_blend is not None:
            voices = "built-in speakers" if self.spec.task is Task.CUSTOM_VOICE else "voices from a description"
            message = f"{self.spec.name} has {voices} and cannot clone. Send ref_audio to {QWEN3_TTS_BASE.name}."
            raise SpeechError(ErrorCode.UNSUPPORTED_TASK, message, "ref_audio")
        if self.spec.task is Task.CUSTOM_VOICE and self.speaker(request) not in self.speakers:
            known = ", ".join(self.speakers)
            message = f"'{request.speaker}' is not a speaker of {self.checkpoint.name}. Use one of: {known}."
            raise SpeechError(ErrorCode.UNKNOWN_SPEAKER, message, "speaker")
        if self.spec.task is Task.VOICE_DESIGN and not (request.instruct or "").strip():
            message = f"{self.spec.name} makes a voice from a description. Send one as instruct."
            raise SpeechError(ErrorCode.INVALID_REQUEST, message, "instruct")

    def speaker(self, request: SpeechRequest) -> str:
        """The built-in speaker of a request, or the default."""
        default = DEFAULT_SPEAKER if DEFAULT_SPEAKER in self.speakers else self.speakers[0]
        return (request.speaker or default).lower()

    def warnings(self, request: SpeechRequest) -> tuple[str, ...]:
        """Parts of the request that have no effect."""
        warnings = []
        if request.instruct and self.spec.task is Task.CLONE:
            warnings.append("instruct is ignored: cloned voices do not support instructions")
        if request.instruct and self.spec.task is Task.CUSTOM_VOICE and not self.supports_instructions:
            warnings.append("instruct is ignored: the 0.6B checkpoint does not support instructions, the 1.7B one does")
        if request.speaker and self.spec.task is not Task.CUSTOM_VOICE:
            warnings.append(f"speaker is ignored: {self.spec.name} has no built-in speakers")
        return tuple(warnings)

    def _check_reference(self, request: SpeechRequest) -> None:
        if request.ref_blend is not None:
            for part in request.ref_blend:
                _check_length(part.audio, "ref_blend")
            return
        if request.ref_audio is None:
            message = (
                f"{self.spec.name} has no voice of its own. Send ref_audio, the recording of a voice, or use "
                f"{QWEN3_TTS_CUSTOM_VOICE.name} (built-in speakers) or {QWEN3_TTS_VOICE_DESIGN.name} (a description)."
            )
            raise SpeechError(ErrorCode.INVALID_REQUEST, message, "ref_audio")
        _check_length(request.ref_audio, "ref_audio")


def _check_length(pcm: bytes, name: str) -> None:
    if len(pcm) < MIN_REFERENCE_SAMPLES * SAMPLE_BYTES:
        seconds = MIN_REFERENCE_SAMPLES / SAMPLE_RATE_HZ
        message = f"A recording in {name} is shorter than {seconds} s. Send some seconds of speech."
        raise SpeechError(ErrorCode.INVALID_REFERENCE_AUDIO, message, name)
