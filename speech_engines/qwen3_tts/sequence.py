"""One request in the batch: what it asked for, where it lies, and how far it is. No tensors."""

import time
from dataclasses import dataclass, field

from speech_engines.base import AudioSink
from speech_engines.qwen3_tts.guard import RunawayGuard
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from speech_protocol.events import EndEvent, FinishReason
from speech_protocol.request import SpeechRequest


@dataclass(slots=True, eq=False)
class Sequence:
    """A request from the queue to its last sample. `slot` is its place in every static buffer, -1 while it waits."""

    request: SpeechRequest
    sink: AudioSink
    limit_samples: int
    arrived_s: float = field(default_factory=time.perf_counter)
    slot: int = -1
    started_s: float = 0.0
    asked_s: float = 0.0
    first_chunk_s: float = 0.0
    text_tokens: int = 0
    warnings: tuple[str, ...] = ()
    guard: RunawayGuard | None = None
    room_frames: int = 0
    frames: int = 0
    undecoded_frames: int = 0
    chunks: int = 0
    sent_samples: int = 0

    @property
    def limit_frames(self) -> int:
        """Frames that hold `limit_samples`; the last one may be cut."""
        return max(1, -(-self.limit_samples // FRAME_SAMPLES))

    def add_frame(self) -> None:
        self.frames += 1
        self.undecoded_frames += 1

    def end_event(self, reason: FinishReason) -> EndEvent:
        """The figures of the utterance, as they are now."""
        now_s = time.perf_counter()
        started_s = self.started_s or now_s
        return EndEvent(
            finish_reason=reason,
            audio_samples=self.sent_samples,
            text_tokens=self.text_tokens,
            queue_s=round(started_s - self.arrived_s, 6),
            first_chunk_s=round(self.first_chunk_s, 6),
            synthesis_s=round(now_s - started_s, 6),
            warnings=self.warnings,
        )


def limit_samples_of(request: SpeechRequest, max_audio_seconds: float) -> int:
    """Samples that a request may have."""
    return int(min(request.max_audio_seconds or float("inf"), max_audio_seconds) * SAMPLE_RATE_HZ)
