"""The embedded English voice: the hibari-tts package on one CPU core, with its weights in the wheel."""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from hibari.voices import VOICES, voice_path

from speech_engines.base import Capabilities
from speech_engines.hibari_voice import SpokenWord, TimedVoice
from speech_engines.worker import CancelledError, Chunks, CutError, Summary, WorkerEngine
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.languages import AUTO
from speech_protocol.models import HIBARI, Task
from speech_protocol.request import SpeechRequest
from speech_protocol.speakers import HIBARI_DEFAULT, hibari_speaker
from speech_text.characters import latin_only, normalized
from speech_text.sentences import split_sentences

logger = logging.getLogger(__name__)

_LEFT_OUT: Final = "parts of the text cannot be pronounced by hibari and were skipped"
# Maximum input of the model; a longer sentence is split after punctuation.
_MAX_PHONEMES: Final = 400
_PUNCTUATION: Final = tuple(".!?…,;:—")
_OFF: Final = ("1", "ON", "YES", "TRUE")


class HibariSynthesizer:
    """Synthesizes one chunk for each sentence. `speakers` are those on this machine."""

    def __init__(self, speakers: "Speakers") -> None:
        self._speakers = speakers
        self._voices = {HIBARI_DEFAULT: TimedVoice(HIBARI_DEFAULT)}
        # The first call reads the pronunciation lexicon: do it before the model is ready, not in the first request.
        self._voices[HIBARI_DEFAULT].words("Ready.")
        self._capabilities = Capabilities(
            engine=HIBARI.name,
            checkpoint=HIBARI.default_checkpoint,
            device="cpu",
            task=Task.CUSTOM_VOICE,
            languages=("english",),
        )

    @property
    def capabilities(self) -> Capabilities:
        return replace(self._capabilities, speakers=self._speakers.present)

    def check(self, request: SpeechRequest) -> None:
        if hibari_speaker(request.speaker, self._speakers.present) is None:
            raise self._speakers.missing(str(request.speaker))
        if request.language not in (AUTO, *self._capabilities.languages):
            message = f"hibari speaks English only, not '{request.language}'. Use a Qwen3-TTS model for it."
            raise SpeechError(ErrorCode.UNSUPPORTED_LANGUAGE, message, "language")
        if request.ref_audio is not None or request.ref_blend is not None:
            message = "hibari cannot clone a voice. Use the model qwen3_tts_base."
            raise SpeechError(ErrorCode.UNSUPPORTED_TASK, message, "ref_audio")

    def synthesize(self, request: SpeechRequest, is_cancelled: Callable[[], bool]) -> Chunks:
        voice = self._voice(hibari_speaker(request.speaker, self._speakers.present) or HIBARI_DEFAULT)
        text, left_out = latin_only(normalized(request.text))
        phonemes = 0
        # One sentence after another, instead of `phonemize` on the whole text: the first is sent before the last is
        # analysed.
        with suppress(CutError):
            for number, sentence in enumerate(_sentences(text)):
                parts = _parts(voice, sentence)
                left_out |= not parts
                for part in parts:
                    if is_cancelled():
                        raise CancelledError
                    phonemes += sum(len(word.phonemes) + 1 for word in part) - 1
                    seed = None if request.seed is None else (request.seed + number) % 2**63  # numpy's limit
                    yield voice.speak(part, seed)
        if not phonemes:
            message = "The text has nothing to pronounce in English. Send English, or use a Qwen3-TTS model."
            raise SpeechError(ErrorCode.UNSPEAKABLE_TEXT, message, "text")
        ignored = ("instruct is ignored: hibari does not support instructions",) if request.instruct else ()
        return Summary(text_tokens=phonemes, warnings=ignored + (_LEFT_OUT,) * left_out)

    def gpu_memory_bytes(self) -> int | None:
        return None

    def close(self) -> None:
        self._voices.clear()

    def _voice(self, speaker: str) -> TimedVoice:
        if speaker not in self._voices:
            self._voices[speaker] = TimedVoice(speaker)
        return self._voices[speaker]


class Speakers:
    """The speakers whose weights are on this machine. `present` may be read from any thread, and grows during a
    download."""

    def __init__(self) -> None:
        self.present = tuple(name for name in VOICES if _is_local(name))
        self._why_missing = "HF_HUB_OFFLINE is set"

    def download(self) -> None:
        """Download the missing ones, 8 MB each, in a background thread; none with HF_HUB_OFFLINE.

        A failed download is retried at the next load.
        """
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in _OFF:
            return
        self._why_missing = "it is being downloaded: try again in a minute"
        threading.Thread(target=self._download, name="hibari-download", daemon=True).start()

    def missing(self, name: str) -> SpeechError:
        """Why `name` is unavailable."""
        known = ", ".join(self.present)
        if name in VOICES:
            message = f"The voice '{name}' is not on this machine; {self._why_missing}. Use one of: {known}."
        else:
            message = f"'{name}' is not a speaker of hibari. Use one of: {known}."
        return SpeechError(ErrorCode.UNKNOWN_SPEAKER, message, "speaker")

    def _download(self) -> None:
        for name in VOICES:
            if name in self.present:
                continue
            try:
                voice_path(name)
            except (RuntimeError, OSError) as error:
                self._why_missing = "its download failed"
                logger.warning("only these voices of hibari are available: %s: %s", ", ".join(self.present), error)
                return
            self.present = (*self.present, name)


def _sentences(text: str) -> Iterator[str]:
    """Each line is at least one sentence, as in hibari's own splitter, which splits after "Sept." and "Ft."."""
    for line in text.splitlines():
        yield from filter(None, map(str.strip, split_sentences(line)))


def _parts(voice: TimedVoice, sentence: str) -> list[list[SpokenWord]]:
    """The words of a sentence, in parts that the model accepts; none if it has nothing to pronounce, or if the package
    fails on it.

    It fails on a number of 37 digits or a digit in a circle, and that must not end the text around it.
    """
    try:
        words = voice.words(sentence)
    except (IndexError, TypeError, ValueError) as error:
        logger.warning("skipped a sentence: hibari failed on it with %s", type(error).__name__)
        return []
    if not any(word.phonemes for word in words):
        return []
    parts: list[list[SpokenWord]] = [[]]
    for clause in _clauses(words) if _length(words) > _MAX_PHONEMES else [words]:
        if parts[-1] and _length(parts[-1]) + _length(clause) >= _MAX_PHONEMES:
            parts.append([])
        parts[-1] += clause
    return parts


def _clauses(words: list[SpokenWord]) -> Iterator[list[SpokenWord]]:
    """The words up to each punctuation mark."""
    clause: list[SpokenWord] = []
    for word in words:
        clause.append(word)
        if word.phonemes.endswith(_PUNCTUATION):
            yield clause
            clause = []
    if clause:
        yield clause


def _length(words: Sequence[SpokenWord]) -> int:
    return sum(len(word.phonemes) + 1 for word in words)


def _is_local(name: str) -> bool:
    try:
        voice_path(name, download_missing=False)
    except FileNotFoundError:
        return False
    return True


def create_engine() -> WorkerEngine:
    """The engine of the Triton model `hibari`. A sentence takes about 15 ms and lasts seconds, so one core serves many
    requests."""
    if hub := os.environ.get("HF_HOME"):  # the download folder of the containers
        os.environ.setdefault("HIBARI_HOME", str(Path(hub) / "hibari"))
    speakers = Speakers()
    engine = WorkerEngine(HibariSynthesizer(speakers), max_queue=256, max_active=64)
    speakers.download()
    return engine
