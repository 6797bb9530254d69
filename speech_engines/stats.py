"""Statistics of an engine: plain numbers of the worker thread, published once a second.

Handing one figure on takes a message to Triton's process, so it is never done for each step.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

# Family: what it is, and whether it only grows.
FAMILIES: Final[dict[str, tuple[str, bool]]] = {
    "tts_engine_active_rows": ("Utterances that are being spoken.", False),
    "tts_engine_rows": ("Utterances that can be spoken at once.", False),
    "tts_engine_waiting_requests": ("Requests that wait in the engine's queue.", False),
    "tts_engine_steps_total": ("Steps of the whole batch.", True),
    "tts_engine_step_seconds_total": ("Time in steps of the whole batch.", True),
    "tts_engine_frames_total": ("Frames, one for each row of each step; 12.5 make a second.", True),
    "tts_engine_cache_positions": ("Positions of the key-value cache.", False),
    "tts_engine_cache_positions_used": ("Positions of the key-value cache that utterances hold.", False),
    "tts_engine_paused_rows": ("Utterances that are paused until the cache has positions for them again.", False),
    "tts_engine_pauses_total": ("Times that an utterance was paused.", True),
    "tts_engine_voice_prompts_found_total": ("Voices to clone that were in the cache.", True),
    "tts_engine_voice_prompts_made_total": ("Voices to clone that were computed.", True),
    "tts_engine_unused_graphs": ("CUDA graphs that are not used, as they could not be recorded or differ.", False),
    "tts_engine_guard_trips_total": ("Utterances that the runaway guard cut.", True),
    "tts_engine_gpu_memory_bytes": ("Memory of the device that the process holds.", False),
}
INTERVAL_S: Final = 1.0

Publish = Callable[[Mapping[str, float]], None]


@dataclass(slots=True)
class Reporter:
    """Publishes statistics, by family, at most once an interval and whenever the engine becomes idle. One thread
    only."""

    read: Callable[[], Mapping[str, float]]
    publish: Publish | None = None
    interval_s: float = INTERVAL_S
    clock: Callable[[], float] = time.monotonic
    _next_s: float = field(default=0.0, init=False)

    def report(self, *, is_idle: bool) -> None:
        now_s = self.clock()
        if self.publish is not None and (is_idle or now_s >= self._next_s):
            self._next_s = now_s + self.interval_s
            self.publish(self.read())
