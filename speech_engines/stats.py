"""Statistics of an engine: plain numbers of the worker thread, published once a second.

Publishing a value sends a message to Triton's process, so it is not done in each step.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

# Family: its description, and whether it is a counter.
FAMILIES: Final[dict[str, tuple[str, bool]]] = {
    "tts_engine_active_rows": ("Utterances being synthesized.", False),
    "tts_engine_rows": ("Maximum utterances synthesized at once.", False),
    "tts_engine_waiting_requests": ("Requests in the engine's queue.", False),
    "tts_engine_steps_total": ("Decode steps of the whole batch.", True),
    "tts_engine_step_seconds_total": ("Time in decode steps of the whole batch.", True),
    "tts_engine_frames_total": ("Frames, one for each row of each step; 12.5 a second of audio.", True),
    "tts_engine_cache_positions": ("Positions of the KV cache.", False),
    "tts_engine_cache_positions_used": ("Positions of the KV cache in use.", False),
    "tts_engine_paused_rows": ("Utterances paused for lack of cache positions.", False),
    "tts_engine_pauses_total": ("Pauses of utterances for lack of cache positions.", True),
    "tts_engine_voice_prompts_found_total": ("Voice prompt cache hits.", True),
    "tts_engine_voice_prompts_made_total": ("Voice prompts computed.", True),
    "tts_engine_unused_graphs": ("CUDA graphs that are unused: capture failed, or results differ.", False),
    "tts_engine_guard_trips_total": ("Utterances stopped by the runaway guard.", True),
    "tts_engine_gpu_memory_bytes": ("Device memory used by the process, in bytes.", False),
}
INTERVAL_S: Final = 1.0

Publish = Callable[[Mapping[str, float]], None]


@dataclass(slots=True)
class Reporter:
    """Publishes statistics, by family, at most once an interval and whenever the engine becomes idle. For one thread
    only."""

    read: Callable[[], Mapping[str, float]]
    publish: Publish | None = None
    interval_s: float = INTERVAL_S
    clock: Callable[[], float] = time.monotonic
    _next_s: float = field(default=0.0, init=False)

    def report(self, *, is_idle: bool) -> None:
        """Publish the statistics if the interval has passed or the engine has become idle."""
        now_s = self.clock()
        if self.publish is not None and (is_idle or now_s >= self._next_s):
            self._next_s = now_s + self.interval_s
            self.publish(self.read())
