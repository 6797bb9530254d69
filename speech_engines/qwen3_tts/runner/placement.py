"""The device, precision and attention of an engine, chosen from what this machine has."""

import importlib.util
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from speech_engines.qwen3_tts.config import AUTO, EngineConfig, refused
from speech_engines.qwen3_tts.runner import gpu
from speech_protocol.errors import ErrorCode, SpeechError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

# `auto` gives up precision for no less than this.
_MIN_SPEEDUP = 1.2


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how the weights lie, once `auto` is resolved. `notes`: sentences for people on what is not as it should
    be."""

    device: str
    dtype: str
    attention: str
    weights: str = "full"
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """The device for people: of a GPU also its name, and whether large products are int8."""
        if self.device == "cpu":
            return "cpu, int8 weights" if self.weights == "int8" else self.device
        import torch

        return f"{self.device} {torch.cuda.get_device_name(self.device)}"

    @classmethod
    def from_config(cls, config: EngineConfig) -> "Placement":
        """Raises SpeechError if a GPU is requested and can't be used: it is never replaced by the CPU."""
        import torch

        from speech_engines.qwen3_tts.model.weights import has_matrix_unit

        device, notes = _device(config.device)
        if device == "cpu":
            best = "bfloat16" if has_matrix_unit() else "float32"
        else:
            gpu.prepare_process()
            best = gpu.dtype_for(device)
        dtype = config.dtype if config.dtype != AUTO else best
        flash = device != "cpu" and dtype != "float32" and importlib.util.find_spec("flash_attn") is not None
        if config.attention == "flash_attention_2" and not flash:
            raise refused("ATTENTION", config.attention, "sdpa or eager without CUDA, half precision and flash-attn")
        attention = config.attention if config.attention != AUTO else "flash_attention_2" if flash else "sdpa"
        return cls(device, dtype, attention, choose_weights(config, device, getattr(torch, dtype)), notes)


def _device(wanted: str) -> tuple[str, tuple[str, ...]]:
    """`wanted` if it can be used; for `auto` a GPU that can, else the CPU and why not the GPU, if there is one."""
    import torch

    if wanted == "cpu":
        return wanted, ()
    if wanted == AUTO and not gpu.is_present() and not torch.cuda.is_available():
        return "cpu", ()
    name = "cuda" if wanted == AUTO else wanted
    problem = gpu.why_unusable(name)
    if problem is None:
        return name, ()
    if wanted != AUTO:
        message = f"DEVICE is {wanted}, and the GPU can't be used: {problem} Or set DEVICE=cpu."
        raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, message)
    note = f"This machine's GPU can't be used, so the model runs on the CPU: {problem}"
    logger.warning("%s", note)
    return "cpu", (note,)


def choose_weights(config: EngineConfig, device: str, dtype: "torch.dtype") -> str:
    """int8 or full. Raises SpeechError if int8 is requested and unavailable."""
    from speech_engines.qwen3_tts.model import int8

    is_possible = device == "cpu" and config.engine == "batching" and int8.is_available()
    if config.weights == "int8" and not is_possible:
        raise refused("WEIGHTS", config.weights, "auto or full on a GPU, with ENGINE=reference, or without AVX2")
    if config.weights != AUTO or config.dtype != AUTO or not is_possible:
        return "full" if config.weights == AUTO else config.weights
    from speech_engines.qwen3_tts.model.weights import int8_speedup

    speedup = int8_speedup(dtype)
    chosen = "int8" if speedup >= _MIN_SPEEDUP else "full"
    logger.info("products of one row with int8 weights take 1/%.2f of the time: WEIGHTS is %s", speedup, chosen)
    return chosen
