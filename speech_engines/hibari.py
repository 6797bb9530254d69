"""The embedded English voice: the hibari-tts package on one CPU core, its weights inside the wheel."""

import logging
from collections.abc import Callable
from contextlib import suppress

from hibari import Hibari
from hibari.voices import VOICES, voice_path

from speech_engines.base import Capabilities
from speech_engines.worker import CancelledError, Chunks, CutError, Summary, WorkerEngine
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.languages import AUTO
from speech_protocol.models import HIBARI, Task
from speech_protocol.request import SpeechRequest

logger = logging.getLogger(__name__)

DEFAULT_SPEAKER = "heart"
_LEFT_OUT = "some of the text has nothing that hibari can pronounce, and was left out"


class HibariSynthesizer:
    """One chunk a sentence. Speakers whose weights are not on this machine are not offered: nothing is downloaded."""

    def __init__(self) -> None:
        self._voices = {DEFAULT_SPEAKER: Hibari(DEFAULT_SPEAKER)}
        # The first call reads the pronunciation lexicon; do it before the model is ready, not in somebody's request.
        self._voices[DEFAULT_SPEAKER]("Ready.")
        self.capabilities = Capabilities(
            engine=HIBARI.name,
            checkpoint=HIBARI.default_checkpoint,
            device="cpu",
            task=Task.CUSTOM_VOICE,
            languages=("english",),
            speakers=tuple(name for name in VOICES if _is_local(name)),
        )

    def check(self, request: SpeechRequest) -> None:
        speaker = request.speaker or DEFAULT_SPEAKER
        if speaker not in self.capabilities.speakers:
            known = ", ".join(self.capabilities.speakers)
            raise SpeechError(
                ErrorCode.UNKNOWN_SPEAKER, f"'{speaker}' is not a speaker of hibari. Use one of: {known}.", "speaker"
            )
        if request.language not in (AUTO, *self.capabilities.languages):
            message = f"hibari speaks English only, not '{request.language}'. Use a Qwen3-TTS model for it."
            raise SpeechError(ErrorCode.UNSUPPORTED_LANGUAGE, message, "language")
        if request.ref_audio is not None or request.ref_blend is not None:
            message = "hibari cannot clone a voice. Use the model qwen3_tts_base."
            raise SpeechError(ErrorCode.UNSUPPORTED_TASK, message, "ref_audio")

    def synthesize(self, request: SpeechRequest, is_cancelled: Callable[[], bool]) -> Chunks:
        voice = self._voice(request.speaker or DEFAULT_SPEAKER)
        phonemes = 0
        left_out = False
        # The sentences one by one, not `phonemize` on the whole: the first is heard before the last is analysed.
        with suppress(CutError):
            for number, sentence in enumerate(voice.split_sentences(request.text)):
                parts = _phonemize(voice, sentence)
                left_out |= not parts
                for part in parts:
                    if is_cancelled():
                        raise CancelledError
                    phonemes += len(part)
                    seed = None if request.seed is None else (request.seed + number) % 2**63  # numpy takes no other
                    yield voice.from_phonemes(part, seed=seed)
        if not phonemes:
            raise SpeechError(ErrorCode.UNSPEAKABLE_TEXT, "The text has nothing to pronounce in English.", "text")
        ignored = ("instruct is ignored: hibari takes no instructions",) if request.instruct else ()
        return Summary(text_tokens=phonemes, warnings=ignored + (_LEFT_OUT,) * left_out)

    def gpu_memory_bytes(self) -> int | None:
        return None

    def close(self) -> None:
        self._voices.clear()

    def _voice(self, speaker: str) -> Hibari:
        if speaker not in self._voices:
            self._voices[speaker] = Hibari(speaker)
        return self._voices[speaker]


def _phonemize(voice: Hibari, sentence: str) -> list[str]:
    """The phonemes of a sentence, in parts; none where it has nothing to pronounce, or where the package fails on it.

    It does on a number of 37 digits or a digit in a circle, and that must not end the text around it.
    """
    try:
        return list(voice.phonemize(sentence))
    except (IndexError, TypeError, ValueError) as error:
        logger.warning("a sentence was left out: hibari failed on it with %s", type(error).__name__)
        return []


def _is_local(name: str) -> bool:
    try:
        voice_path(name, download_missing=False)
    except FileNotFoundError:
        return False
    return True


def create_engine() -> WorkerEngine:
    """The engine of the Triton model `hibari`. A sentence takes about 15 ms and lasts seconds, so many share a core."""
    return WorkerEngine(HibariSynthesizer(), max_queue=256, max_active=64)
