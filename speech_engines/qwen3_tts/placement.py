"""The device, precision and attention of an engine, chosen from what this machine has."""

import importlib.util
from dataclasses import dataclass

from speech_engines.qwen3_tts.config import AUTO, EngineConfig, refused


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how the weights lie, once `auto` is resolved."""

    device: str
    dtype: str
    attention: str

    def describe(self) -> str:
        """The device for people: of a GPU also its name."""
        if self.device == "cpu":
            return self.device
        import torch

        return f"{self.device} {torch.cuda.get_device_name(self.device)}"

    @classmethod
    def of(cls, config: EngineConfig) -> "Placement":
        import torch

        from speech_engines.qwen3_tts.weights import has_matrix_unit

        has_cuda = torch.cuda.is_available()
        device = config.device if config.device != AUTO else "cuda" if has_cuda else "cpu"
        if device != "cpu" and not has_cuda:
            raise refused("DEVICE", device, "cpu on a machine without CUDA")
        fast = device != "cpu" or has_matrix_unit()
        dtype = config.dtype if config.dtype != AUTO else "bfloat16" if fast else "float32"
        flash = device != "cpu" and dtype != "float32" and importlib.util.find_spec("flash_attn") is not None
        if config.attention == "flash_attention_2" and not flash:
            raise refused("ATTENTION", config.attention, "sdpa or eager without CUDA, half precision and flash-attn")
        attention = config.attention if config.attention != AUTO else "flash_attention_2" if flash else "sdpa"
        return cls(device, dtype, attention)
