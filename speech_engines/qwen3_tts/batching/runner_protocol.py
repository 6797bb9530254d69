"""The model runner's protocol, as the batching engine uses it."""

from collections.abc import Sequence as Codes
from typing import Protocol

from speech_engines.base import Samples
from speech_engines.qwen3_tts.batching.sequence import Plan
from speech_engines.qwen3_tts.model.cache_ranges import CacheRange
from speech_protocol.request import SpeechRequest


class ModelRunner(Protocol):
    """Called from the engine's thread but where it says otherwise. Slots are 0 to `slots` - 1; `cache_positions` is the
    length of the caches.

    Each call may raise DeviceMemoryError, and has then changed nothing, or DeviceLostError.
    """

    slots: int
    cache_positions: int

    def plan(self, request: SpeechRequest) -> Plan:
        """Raise SpeechError where `request` can't be served; else what it needs. Computes nothing. Any thread."""
        ...

    def is_prepared(self, request: SpeechRequest, plan: Plan) -> bool:
        """Whether `begin` has all it needs, the voice to clone above all. Any thread."""
        ...

    def prepare(self, request: SpeechRequest, plan: Plan) -> None:
        """Make it so. On a thread of its own, beside all else."""

    def begin(self, slot: int, cache_range: CacheRange, request: SpeechRequest, plan: Plan) -> None:
        """A new utterance in `slot`, with these cache positions of the caches."""

    def prefill_cost(self, slot: int) -> float:
        """How long the next piece of its prompt takes, as a part of a step: at most 1."""
        ...

    def prefill(self, slot: int) -> bool:
        """Read that piece; True when all of the prompt is read."""
        ...

    def step(self, slots: Codes[int]) -> tuple[list[list[int]], list[bool]]:
        """One frame for each slot: its 16 codes, and whether the utterance ended instead."""
        ...

    def decode(self, slots: Codes[int], frames: int) -> list[Samples]:
        """The samples of the last `frames` frames of each slot, which were not decoded yet."""
        ...

    def move(self, slot: int, cache_range: CacheRange) -> None:
        """Move the slot's utterance to these cache positions, which may overlap its own."""

    def pause(self, slot: int) -> None:
        """Keep what the slot's utterance has in the caches elsewhere: its cache positions go to others."""

    def resume(self, slot: int, cache_range: CacheRange) -> None:
        """Bring it back into these cache positions, exactly."""

    def release(self, slot: int) -> None: ...

    def free_memory(self) -> None:
        """Give back what is kept for later."""

    def gpu_memory_bytes(self) -> int | None:
        """Any thread."""
        ...

    def stats(self) -> dict[str, float]:
        """By family of `stats`."""
        ...

    def close(self) -> None: ...
