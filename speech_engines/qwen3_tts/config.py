"""Settings of a Qwen3-TTS engine: read once from the environment, frozen, refused if a value is unknown."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from speech_protocol.errors import ErrorCode, SpeechError

AUTO: Final = "auto"
DTYPES: Final = ("bfloat16", "float16", "float32")
ATTENTIONS: Final = ("flash_attention_2", "sdpa", "eager")
CPU_ROWS: Final = 16
WEIGHTS: Final = ("int8", "full")
ENGINES: Final = ("batching", "reference")


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """`auto` means: CUDA if there is a GPU that can be used, else the CPU; bfloat16 on a GPU and on a CPU that have
    it in hardware, else float32; flash attention if it is installed and can be used, else PyTorch's own (`attention`
    is about the reference engine only). The codec computes in float32, whatever `dtype` says.

    `weights` `int8` quantizes the large products of talker and code predictor on a CPU, and rounds the codec's large
    weights to fp16; `full` keeps `dtype`, and the codec in float32; `auto` is int8 where that is measured to be faster,
    and `full` on a GPU and where `dtype` is set.

    `max_batch` requests run at once, as far as their positions fit into the caches, which take at most `cache_share` of
    the memory that is free beside the weights; None: as many as that is enough for on a GPU, `CPU_ROWS` on a CPU. A
    step of the batching engine that takes longer than `step_timeout` seconds ends the process, which is then started
    again. `runaway_guard` listens for loops, hiss and silence: random weights, which timings and tests are made with,
    do nothing but hiss."""

    device: str = AUTO
    dtype: str = AUTO
    weights: str = AUTO
    attention: str = AUTO
    engine: str = "batching"
    max_batch: int | None = None
    cache_share: float = 0.5
    max_queue: int = 64
    max_audio_seconds: float = 600.0
    step_timeout: float = 120.0
    runaway_guard: bool = True

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """From the environment variables of these names in capitals; an absent or empty one keeps its default."""
        return cls(
            device=_device(environment.get("DEVICE", "").strip().lower() or AUTO),
            dtype=_choice("DTYPE", environment, DTYPES),
            weights=_choice("WEIGHTS", environment, WEIGHTS),
            attention=_choice("ATTENTION", environment, ATTENTIONS),
            engine=_choice("ENGINE", environment, ENGINES, ENGINES[0]),
            max_batch=_max_batch(environment),
            cache_share=_number("CACHE_SHARE", environment, 0.5, most=0.9),
            max_queue=int(_number("MAX_QUEUE", environment, 64, whole=True)),
            max_audio_seconds=_number("MAX_AUDIO_SECONDS", environment, 600.0),
            step_timeout=_number("STEP_TIMEOUT", environment, 120.0),
            runaway_guard=_choice("RUNAWAY_GUARD", environment, ("on", "off"), "on") == "on",
        )


def _max_batch(environment: Mapping[str, str]) -> int | None:
    if environment.get("MAX_BATCH", "").strip().lower() in ("", AUTO):
        return None
    return int(_number("MAX_BATCH", environment, 0, whole=True))


def refused(variable: str, value: str, allowed: str) -> SpeechError:
    """The error for an invalid setting."""
    return SpeechError(ErrorCode.MODEL_UNAVAILABLE, f"{variable} is '{value}'; it must be {allowed}.")


def _device(value: str) -> str:
    name, _, number = value.partition(":")
    if value in (AUTO, "cpu", "cuda") or (name == "cuda" and number.isdecimal()):
        return value
    raise refused("DEVICE", value, "auto, cpu, cuda or cuda:<number>")


def _choice(variable: str, environment: Mapping[str, str], allowed: tuple[str, ...], default: str = AUTO) -> str:
    value = environment.get(variable, "").strip().lower() or default
    if value not in (default, *allowed):
        raise refused(variable, value, f"one of {', '.join(dict.fromkeys((default, *allowed)))}")
    return value


def _number(
    variable: str, environment: Mapping[str, str], default: float, *, whole: bool = False, most: float = math.inf
) -> float:
    text = environment.get(variable, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not (0 < value < math.inf and value <= most) or (whole and value != int(value)):
        kind = "a whole number above 0" if whole else "a number above 0"
        raise refused(variable, text, kind if most == math.inf else f"{kind} and at most {most:g}")
    return value
