"""The engine behind the Qwen3-TTS models: batching by default, `ENGINE=reference` for the qwen-tts package."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from speech_engines.base import Capabilities, Engine
from speech_engines.passing_thread import in_passing_thread
from speech_engines.qwen3_tts.checkpoint import Checkpoint, open_checkpoint
from speech_engines.qwen3_tts.config import EngineConfig
from speech_engines.qwen3_tts.placement import Placement
from speech_engines.qwen3_tts.rules import RequestRules
from speech_engines.watchdog import Watchdog
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.models import ModelSpec, not_installed

logger = logging.getLogger(__name__)

# Of each request that runs, on the average: prompt and frames. A minute of audio is 750.
POSITIONS_PER_SLOT: Final = 1024
# One utterance may take more: 4,096 characters of text, a minute of reference, ten minutes of audio.
MIN_PLACES: Final = 10_000
_BYTES: Final = {"bfloat16": 2, "float16": 2, "float32": 4}


def create_engine(spec: ModelSpec, environment: Mapping[str, str] = os.environ) -> Engine:
    """The engine of one of the Triton models of Qwen3-TTS. Raises SpeechError where its checkpoint can't be had."""
    config = EngineConfig.from_environment(environment)
    try:
        if config.engine == "reference":
            from speech_engines.qwen3_tts import reference

            return in_passing_thread(lambda: reference.create_engine(spec, environment))
        checkpoint = open_checkpoint(spec, environment)
        return in_passing_thread(lambda: _create_batching(spec, checkpoint, config))
    except ModuleNotFoundError as error:
        # `make serve` brings the embedded voice only.
        logger.warning("%s can't be imported", error.name)
        raise SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, not_installed(spec.name)) from None


def _create_batching(spec: ModelSpec, checkpoint: Checkpoint, config: EngineConfig) -> Engine:
    import torch

    from speech_engines.qwen3_tts.device import TorchDevice
    from speech_engines.qwen3_tts.engine import DEFAULT_RAMP, BatchEngine

    placement = Placement.of(config)
    places = _places(checkpoint, placement, config)
    try:
        device = TorchDevice(spec, checkpoint, placement, config.max_batch, places, DEFAULT_RAMP)
    except torch.OutOfMemoryError:
        message = f"{checkpoint.name} does not fit into the memory of {placement.device}. Set a smaller MAX_BATCH."
        raise SpeechError(ErrorCode.OUT_OF_MEMORY, message) from None
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        logger.exception("loading %s failed", checkpoint.name)
        message = f"{checkpoint.name} can't be loaded: {type(error).__name__}: {error}"
        raise SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, message) from None
    rules = RequestRules(spec, checkpoint)
    capabilities = Capabilities(
        engine="qwen3-tts",
        checkpoint=checkpoint.name,
        device=placement.describe(),
        task=spec.task,
        languages=checkpoint.languages,
        speakers=rules.speakers,
        max_audio_seconds=config.max_audio_seconds,
        obeys_instruct=rules.obeys_instruct,
    )
    logger.info("%s: %s with %s on %s, %d positions", spec.name, checkpoint.name, config, placement, places)
    return BatchEngine(device, capabilities, config.max_queue, watchdog=Watchdog(config.step_timeout))


def _places(checkpoint: Checkpoint, placement: Placement, config: EngineConfig) -> int:
    """Positions of the caches: enough for MAX_BATCH utterances of usual length, or for one very long one; fewer where
    that would take more than its share of the free memory."""
    talker = checkpoint.config["talker_config"]
    cached = 2 * talker["num_hidden_layers"] * talker["num_key_value_heads"] * talker["head_dim"]
    on_cpu = placement.device == "cpu"
    place_bytes = (cached + talker["hidden_size"]) * (4 if on_cpu else _BYTES[placement.dtype])
    wanted = max(config.max_batch * POSITIONS_PER_SLOT, MIN_PLACES)
    return max(1, min(wanted, int(config.cache_share * _free_bytes(placement) / place_bytes)))


def _free_bytes(placement: Placement) -> int:
    if placement.device != "cpu":
        import torch

        return int(torch.cuda.mem_get_info(placement.device)[0])
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    available = next(line for line in lines if line.startswith("MemAvailable:"))
    return int(available.split()[1]) * 1024
