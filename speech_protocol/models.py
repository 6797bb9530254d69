"""The Triton models of this project: the task and the checkpoint of each.

`MODEL_ID`, the only variable of the single-file server, is a checkpoint of any variant; it is served by the Triton
model of its variant, and the other variants keep their own variable and default.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final


class Task(StrEnum):
    """What a checkpoint can do; the values are `tts_model_type` in a Qwen3-TTS config.json."""

    CUSTOM_VOICE = "custom_voice"  # built-in speakers
    CLONE = "base"  # a voice from reference audio
    VOICE_DESIGN = "voice_design"  # a voice from a description
    ALIGNMENT = "forced_aligner"  # no voice: the times of words in a recording


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A Triton model of this project. `checkpoint_variable` is empty if the weights are part of the engine."""

    name: str
    task: Task
    default_checkpoint: str
    checkpoint_variable: str = ""


HIBARI: Final = ModelSpec("hibari", Task.CUSTOM_VOICE, "hibari-tts")
QWEN3_TTS_CUSTOM_VOICE: Final = ModelSpec(
    "qwen3_tts_custom_voice", Task.CUSTOM_VOICE, "Qwen/Qwen3-TTS-12Hz-0.6B-CustomVoice", "CUSTOM_VOICE_MODEL_ID"
)
QWEN3_TTS_BASE: Final = ModelSpec("qwen3_tts_base", Task.CLONE, "Qwen/Qwen3-TTS-12Hz-0.6B-Base", "BASE_MODEL_ID")
QWEN3_TTS_VOICE_DESIGN: Final = ModelSpec(
    "qwen3_tts_voice_design", Task.VOICE_DESIGN, "Qwen/Qwen3-TTS-12Hz-1.7B-VoiceDesign", "VOICE_DESIGN_MODEL_ID"
)
QWEN3_TTS: Final = (QWEN3_TTS_CUSTOM_VOICE, QWEN3_TTS_BASE, QWEN3_TTS_VOICE_DESIGN)
# Not a voice: it has the times of words in REF_AUDIO, which speaks TEXT.
ALIGNER: Final = ModelSpec("qwen3_forced_aligner", Task.ALIGNMENT, "Qwen/Qwen3-ForcedAligner-0.6B", "ALIGNER_MODEL_ID")
MODELS: Final = {spec.name: spec for spec in (HIBARI, *QWEN3_TTS)}
SPEECH_BATCH: Final = "speech_batch"


def not_installed(model: str) -> str:
    """The reason why a Qwen3-TTS model can't be loaded in an installation with only the embedded voice."""
    return f"{model} needs Qwen3-TTS, which is not installed here. Start the server with `make serve-qwen`."


def task_of_checkpoint(checkpoint: str) -> Task:
    """The task of a Qwen3-TTS checkpoint: from the config.json of a folder, else from the name."""
    try:
        config = json.loads((Path(checkpoint) / "config.json").read_text(encoding="utf-8"))
        return Task(config["tts_model_type"])
    except (OSError, ValueError, KeyError, TypeError):
        name = checkpoint.rstrip("/").rsplit("/", 1)[-1].lower().replace("_", "").replace("-", "")
    if name.endswith("base"):
        return Task.CLONE
    return Task.VOICE_DESIGN if name.endswith("voicedesign") else Task.CUSTOM_VOICE


def speakers_of_checkpoint(checkpoint: str) -> tuple[str, ...] | None:
    """The built-in speakers of a checkpoint folder; None if unknown."""
    try:
        config = json.loads((Path(checkpoint) / "config.json").read_text(encoding="utf-8"))
        return tuple(config["talker_config"]["spk_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def checkpoint_of(spec: ModelSpec, environment: Mapping[str, str]) -> str:
    """The checkpoint (hub id or folder) that `spec` serves in this environment."""
    if not spec.checkpoint_variable:
        return spec.default_checkpoint
    if own := environment.get(spec.checkpoint_variable):
        return own
    shared = environment.get("MODEL_ID")
    return shared if shared and task_of_checkpoint(shared) is spec.task else spec.default_checkpoint
