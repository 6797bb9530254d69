"""The engine of the Qwen3-TTS models: batching by default, `ENGINE=reference` for the qwen-tts package."""

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from speech_engines.base import Capabilities, Engine
from speech_engines.faults import DeviceLostError, DeviceMemoryError
from speech_engines.qwen3_tts.checkpoint.checkpoint import Checkpoint, open_checkpoint
from speech_engines.qwen3_tts.checkpoint.rules import RequestRules
from speech_engines.qwen3_tts.config import EngineConfig
from speech_engines.qwen3_tts.runner.placement import Placement
from speech_engines.temporary_thread import run_in_temporary_thread
from speech_engines.watchdog import Watchdog
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.models import ModelSpec, not_installed

if TYPE_CHECKING:
    from speech_engines.qwen3_tts.runner.model_runner import TorchModelRunner

logger = logging.getLogger(__name__)

_LESS = "Free some, or set a smaller MAX_BATCH or another DEVICE."


def create_engine(spec: ModelSpec, environment: Mapping[str, str] = os.environ) -> Engine:
    """The engine of one of the Triton models of Qwen3-TTS. Raises SpeechError if its checkpoint is unavailable."""
    config = EngineConfig.from_environment(environment)
    try:
        if config.engine == "reference":
            from speech_engines.qwen3_tts import reference

            return run_in_temporary_thread(lambda: reference.create_engine(spec, environment))
        checkpoint = open_checkpoint(spec, environment)
        return run_in_temporary_thread(lambda: _create_batching(spec, checkpoint, config))
    except ModuleNotFoundError as error:
        # `make serve` installs the embedded voice only.
        logger.warning("%s can't be imported", error.name)
        raise SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, not_installed(spec.name)) from None


def _create_batching(spec: ModelSpec, checkpoint: Checkpoint, config: EngineConfig) -> Engine:
    import torch

    from speech_engines.qwen3_tts.batching.engine import BatchEngine
    from speech_engines.qwen3_tts.runner.model_runner import TorchModelRunner

    placement = Placement.from_config(config)
    try:
        device = TorchModelRunner(spec, checkpoint, placement, config)
    except (torch.OutOfMemoryError, DeviceMemoryError):
        message = f"{checkpoint.name} does not fit into the free memory of {placement.device}. {_LESS}"
        raise SpeechError(ErrorCode.OUT_OF_MEMORY, message) from None
    except DeviceLostError as error:
        message = f"{placement.device} failed while {checkpoint.name} was loaded: {error}"
        raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, message) from None
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        logger.exception("loading %s failed", checkpoint.name)
        message = f"{checkpoint.name} can't be loaded: {type(error).__name__}: {error}"
        raise SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, message) from None
    logger.info(
        "%s: %s with %s on %s, %d rows, %d positions",
        spec.name, checkpoint.name, config, placement, device.slots, device.cache_positions,
    )  # fmt: skip
    capabilities = capabilities_of(spec, checkpoint, placement, config, device)
    watchdog = Watchdog(config.step_timeout)
    return BatchEngine(device, capabilities, config.max_queue, watchdog=watchdog, guarded=config.runaway_guard)


def capabilities_of(
    spec: ModelSpec, checkpoint: Checkpoint, placement: Placement, config: EngineConfig, device: "TorchModelRunner"
) -> Capabilities:
    """The capabilities of the batching engine over `device`."""
    rules = RequestRules(spec, checkpoint)
    return Capabilities(
        engine="qwen3-tts",
        checkpoint=checkpoint.name,
        device=placement.describe(),
        task=spec.task,
        languages=checkpoint.languages,
        speakers=rules.speakers,
        max_audio_seconds=config.max_audio_seconds,
        supports_instructions=rules.supports_instructions,
        notes=(*placement.notes, *device.notes),
    )
