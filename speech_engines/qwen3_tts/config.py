"""Settings of a Qwen3-TTS engine: read once from the environment, frozen, refused where a value is unknown."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from speech_protocol.errors import ErrorCode, SpeechError

AUTO: Final = "auto"
DTYPES: Final = ("bfloat16", "float16", "float32")
ATTENTIONS: Final = ("flash_attention_2", "sdpa", "eager")


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """`auto` means: CUDA with bfloat16 where there is a GPU, else the CPU with float32; flash attention where it is
    installed and can be used, else PyTorch's own. The codec is float32 everywhere, whatever `dtype` says."""

    device: str = AUTO
    dtype: str = AUTO
    attention: str = AUTO
    max_queue: int = 64
    max_audio_seconds: float = 600.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """DEVICE, DTYPE, ATTENTION, MAX_QUEUE and MAX_AUDIO_SECONDS; one that is absent or empty keeps its default."""
        return cls(
            device=_device(environment.get("DEVICE", "").strip().lower() or AUTO),
            dtype=_choice("DTYPE", environment, DTYPES),
            attention=_choice("ATTENTION", environment, ATTENTIONS),
            max_queue=int(_number("MAX_QUEUE", environment, 64, whole=True)),
            max_audio_seconds=_number("MAX_AUDIO_SECONDS", environment, 600.0),
        )


def refused(variable: str, value: str, allowed: str) -> SpeechError:
    """The error for a setting that can't be used."""
    return SpeechError(ErrorCode.MODEL_UNAVAILABLE, f"{variable} is '{value}'; it must be {allowed}.")


def _device(value: str) -> str:
    name, _, number = value.partition(":")
    if value in (AUTO, "cpu", "cuda") or (name == "cuda" and number.isdecimal()):
        return value
    raise refused("DEVICE", value, "auto, cpu, cuda or cuda:<number>")


def _choice(variable: str, environment: Mapping[str, str], allowed: tuple[str, ...]) -> str:
    value = environment.get(variable, "").strip().lower() or AUTO
    if value not in (AUTO, *allowed):
        raise refused(variable, value, f"one of auto, {', '.join(allowed)}")
    return value


def _number(variable: str, environment: Mapping[str, str], default: float, *, whole: bool = False) -> float:
    text = environment.get(variable, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not (0 < value < math.inf) or (whole and value != int(value)):
        raise refused(variable, text, "a whole number above 0" if whole else "a number above 0")
    return value
