"""The engine behind the Qwen3-TTS models: batching by default, `ENGINE=reference` for the qwen-tts package."""

import logging
import os
from collections.abc import Mapping
from typing import Final

from speech_engines.base import Capabilities, Engine
from speech_engines.qwen3_tts.checkpoint import Checkpoint, open_checkpoint
from speech_engines.qwen3_tts.config import EngineConfig
from speech_engines.qwen3_tts.placement import Placement
from speech_engines.qwen3_tts.rules import RequestRules
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.models import ModelSpec

logger = logging.getLogger(__name__)

# Room in a slot for the prompt: 4,096 characters of text and a minute of reference.
PROMPT_POSITIONS: Final = 2048
_BYTES: Final = {"bfloat16": 2, "float16": 2, "float32": 4}


def create_engine(spec: ModelSpec, environment: Mapping[str, str] = os.environ) -> Engine:
    """The engine of one of the Triton models of Qwen3-TTS. Raises SpeechError where its checkpoint can't be had."""
    config = EngineConfig.from_environment(environment)
    try:
        if config.engine == "reference":
            from speech_engines.qwen3_tts import reference

            return reference.create_engine(spec, environment)
        return _create_batching(spec, open_checkpoint(spec, environment), config)
    except ModuleNotFoundError as error:
        # `make serve` brings the embedded voice only.
        logger.warning("%s can't be imported", error.name)
        message = f"{spec.name} needs Qwen3-TTS, which is not installed here. Start the server with `make serve-qwen`."
        raise SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, message) from None


def _create_batching(spec: ModelSpec, checkpoint: Checkpoint, config: EngineConfig) -> Engine:
    import torch

    from speech_engines.qwen3_tts.device import TorchDevice
    from speech_engines.qwen3_tts.engine import DEFAULT_RAMP, BatchEngine

    placement = Placement.of(config)
    positions = PROMPT_POSITIONS + int(config.max_audio_seconds * SAMPLE_RATE_HZ / FRAME_SAMPLES)
    slots = _slots(checkpoint, placement, positions, config)
    try:
        device = TorchDevice(spec, checkpoint, placement, slots, positions, chunk=max(DEFAULT_RAMP) + 1)
    except torch.OutOfMemoryError:
        message = f"{checkpoint.name} does not fit into the memory of {placement.device}. Set a smaller MAX_BATCH."
        raise SpeechError(ErrorCode.OUT_OF_MEMORY, message) from None
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        logger.exception("loading %s failed", checkpoint.name)
        message = f"{checkpoint.name} can't be loaded: {type(error).__name__}: {error}"
        raise SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, message) from None
    capabilities = Capabilities(
        engine="qwen3-tts",
        checkpoint=checkpoint.name,
        device=placement.describe(),
        task=spec.task,
        languages=checkpoint.languages,
        speakers=RequestRules(spec, checkpoint).speakers,
        max_audio_seconds=config.max_audio_seconds,
    )
    logger.info("%s: %s with %s on %s, %d slots", spec.name, checkpoint.name, config, placement, slots)
    return BatchEngine(device, capabilities, config.max_queue)


def _slots(checkpoint: Checkpoint, placement: Placement, positions: int, config: EngineConfig) -> int:
    """MAX_BATCH, or fewer where their caches would take more than the share of free GPU memory that they may have."""
    if placement.device == "cpu":
        return config.max_batch  # pages that no utterance reaches are never touched
    import torch

    talker = checkpoint.config["talker_config"]
    cached = 2 * talker["num_hidden_layers"] * talker["num_key_value_heads"] * talker["head_dim"]
    slot_bytes = positions * (cached + talker["hidden_size"]) * _BYTES[placement.dtype]
    free_bytes, _ = torch.cuda.mem_get_info(placement.device)
    return max(1, min(config.max_batch, int(config.cache_share * free_bytes / slot_bytes)))
