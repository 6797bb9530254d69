"""The model runner's protocol for the batching engine."""

from collections.abc import Sequence as Codes
from typing import Protocol

from speech_engines.base import Samples
from speech_engines.qwen3_tts.batching.sequence import Plan
from speech_engines.qwen3_tts.model.cache_ranges import CacheRange
from speech_protocol.request import SpeechRequest


class ModelRunner(Protocol):
    """Called from the engine's thread unless stated otherwise. Slots are 0 to `slots` - 1; `cache_positions` is the
    length of the KV cache.

    Each call may raise DeviceMemoryError, having changed nothing, or DeviceLostError.
    """

    slots: int
    cache_positions: int

    def plan(self, request: SpeechRequest) -> Plan:
        """Raise SpeechError if `request` can't be served; otherwise return its needs. Computes nothing. Any thread."""
        ...

    def is_prepared(self, request: SpeechRequest, plan: Plan) -> bool:
        """Whether `begin` has everything it needs, in particular the voice prompt. Any thread."""
        ...

    def prepare(self, request: SpeechRequest, plan: Plan) -> None:
        """Compute what `begin` needs. Runs on a separate thread, concurrently with all other calls."""

    def begin(self, slot: int, cache_range: CacheRange, request: SpeechRequest, plan: Plan) -> None:
        """Start an utterance in `slot` with this cache range."""

    def more_tokens(self, rest: str, *, final: bool) -> tuple[tuple[int, ...], str]:
        """The tokens of an open text's `rest` that more text cannot change, and what remains; with `final`, all of them
        and the end of the text. Any thread."""
        ...

    def append(self, slot: int, tokens: Codes[int], *, final: bool) -> None:
        """Add tokens, one for each further frame, to the slot's open text. Its cache range has positions for them."""

    def prefill_cost(self, slot: int) -> float:
        """The duration of the next piece of its prompt, relative to a decode step: at most 1."""
        ...

    def prefill(self, slot: int) -> bool:
        """Prefill that piece; True when the prompt is complete."""
        ...

    def step(self, slots: Codes[int]) -> tuple[list[list[int]], list[bool]]:
        """One frame for each slot: its 16 codes, and whether the utterance ended instead."""
        ...

    def decode(self, slots: Codes[int], frames: int) -> list[Samples]:
        """The samples of the last `frames` frames of each slot, which have not been decoded yet."""
        ...

    def move(self, slot: int, cache_range: CacheRange) -> None:
        """Move the slot's utterance to this cache range, which may overlap its own."""

    def pause(self, slot: int) -> None:
        """Copy the slot's cache content to host memory, so that its positions can be reused."""

    def resume(self, slot: int, cache_range: CacheRange) -> None:
        """Restore it exactly into this cache range."""

    def release(self, slot: int) -> None:
        """Free the slot."""

    def free_memory(self) -> None:
        """Release cached memory."""

    def gpu_memory_bytes(self) -> int | None:
        """Any thread."""
        ...

    def stats(self) -> dict[str, float]:
        """By family of `stats`."""
        ...

    def close(self) -> None:
        """Free all device memory."""
