"""The engine of the Triton model `qwen3_forced_aligner`: one recording after another."""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from speech_engines.base import Capabilities, Engine
from speech_engines.qwen3_tts.checkpoint.checkpoint import hub_folder
from speech_engines.qwen3_tts.checkpoint.files import INDEX, WEIGHTS
from speech_engines.qwen3_tts.config import EngineConfig
from speech_engines.worker import Chunks, Summary, WorkerEngine
from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.languages import LANGUAGES
from speech_protocol.models import ALIGNER, checkpoint_of, not_installed
from speech_protocol.request import SpeechRequest

if TYPE_CHECKING:
    from speech_engines.forced_aligner.aligner import ForcedAligner

logger = logging.getLogger(__name__)

# The model was trained on recordings of up to five minutes.
MAX_RECORDING_S: Final = 300
_FILES: Final = ("config.json", "tokenizer_config.json", "vocab.json", "merges.txt")
_PATTERNS: Final = (*_FILES, INDEX, "*.safetensors")


class AlignerSynthesizer:
    """Answers each request with the words of its text, timed in its recording, and no audio."""

    def __init__(self, aligner: "ForcedAligner", capabilities: Capabilities) -> None:
        self._aligner = aligner
        self.capabilities = capabilities

    def check(self, request: SpeechRequest) -> None:
        if request.ref_audio is None:
            message = f"{ALIGNER.name} finds words in a recording. Send it as ref_audio."
            raise SpeechError(ErrorCode.INVALID_REQUEST, message, "ref_audio")
        if len(request.ref_audio) > MAX_RECORDING_S * SAMPLE_RATE_HZ * SAMPLE_BYTES:
            message = f"The recording is longer than {MAX_RECORDING_S} s. Send it in parts."
            raise SpeechError(ErrorCode.INVALID_REFERENCE_AUDIO, message, "ref_audio")

    def synthesize(self, request: SpeechRequest, is_cancelled: Callable[[], bool]) -> Chunks:
        samples = np.frombuffer(request.ref_audio or b"", "<i2").astype(np.float32) / 32768
        words = self._aligner.align(samples, request.text)
        yield np.zeros(0, np.float32), words
        return Summary(text_tokens=len(words))

    def gpu_memory_bytes(self) -> int | None:
        return self._aligner.gpu_memory_bytes()

    def close(self) -> None:
        del self._aligner


def create_engine(environment: Mapping[str, str] = os.environ) -> Engine:
    """Load the checkpoint of ALIGNER_MODEL_ID. Raises SpeechError if it is unavailable."""
    try:
        import torch

        from speech_engines.forced_aligner.aligner import ForcedAligner
        from speech_engines.qwen3_tts.runner.placement import Placement
    except ModuleNotFoundError as error:
        logger.warning("%s can't be imported", error.name)
        raise SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, not_installed(ALIGNER.name)) from None
    placement = Placement.from_config(EngineConfig(device=EngineConfig.from_environment(environment).device))
    name, folder = _checkpoint(environment)
    dtype = torch.float32 if placement.device == "cpu" else getattr(torch, placement.dtype)
    try:
        aligner = ForcedAligner(folder, placement.device, dtype)
    except torch.OutOfMemoryError:
        message = f"{name} does not fit into the free memory of {placement.device}. Set another DEVICE, or free some."
        raise SpeechError(ErrorCode.OUT_OF_MEMORY, message) from None
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        logger.exception("loading %s failed", name)
        message = f"{name} can't be loaded ({type(error).__name__}: {error}). Set ALIGNER_MODEL_ID to another folder."
        raise SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, message) from None
    capabilities = Capabilities("qwen3-forced-aligner", name, placement.describe(), ALIGNER.task, LANGUAGES)
    return WorkerEngine(AlignerSynthesizer(aligner, capabilities))


def _checkpoint(environment: Mapping[str, str]) -> tuple[str, Path]:
    """The name of the checkpoint in the settings, and its folder. Raises SpeechError."""
    name = checkpoint_of(ALIGNER, environment)
    variable = ALIGNER.checkpoint_variable
    folder = Path(name) if Path(name).is_dir() else hub_folder(name, variable, environment, _missing, _PATTERNS)
    if missing := _missing(folder):
        message = f"{name} lacks {', '.join(missing)}. Set {variable} to a folder with every file."
        raise SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, message)
    return name, folder


def _missing(folder: Path) -> list[str]:
    missing = [name for name in _FILES if not (folder / name).is_file()]
    has_weights = (folder / WEIGHTS).is_file() or (folder / INDEX).is_file()
    return missing + [WEIGHTS] * (not has_weights)
