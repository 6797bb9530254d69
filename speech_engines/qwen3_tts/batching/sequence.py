"""One request in the batch: its parameters, its slot and its progress. No tensors."""

import time
from collections.abc import Sequence as Codes
from dataclasses import dataclass, field
from enum import Enum, auto

from speech_engines.delivery import DeliverySink
from speech_engines.qwen3_tts.batching.guard import RunawayGuard, asks_for_a_pause, budget_frames, expected_frames
from speech_engines.qwen3_tts.batching.open_text import MAX_REST_CHARS, OpenText
from speech_engines.qwen3_tts.model.cache_ranges import CacheRange
from speech_engines.qwen3_tts.prompt.tokens import PromptTokens
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import EndEvent, FinishReason
from speech_protocol.request import SpeechRequest


@dataclass(frozen=True, slots=True)
class Plan:
    """The properties of a request that are determined on arrival, before any computation."""

    prompt_tokens: PromptTokens
    voice_keys: tuple[bytes, ...] = ()  # of the recordings to clone
    warnings: tuple[str, ...] = ()

    @property
    def text_tokens(self) -> int:
        """The number of tokens of the text."""
        return self.prompt_tokens.text_tokens

    @property
    def prompt_positions(self) -> int:
        """The number of cache positions of the prompt."""
        return len(self.prompt_tokens.text)


class Stage(Enum):
    """The state of a request: waiting for its voice prompt, queued for a slot, prefilling, decoding, or paused until
    the KV cache has free positions."""

    PREPARING = auto()
    WAITING = auto()
    PROMPTING = auto()
    SPEAKING = auto()
    PAUSED = auto()
    ENDED = auto()


@dataclass(slots=True, eq=False)
class Sequence:
    """A request from the queue to its last sample. `slot` is its row of the batch, -1 without one; `cache_range` is its
    part of the KV cache, which grows during decoding; a paused sequence has none."""

    request: SpeechRequest
    sink: DeliverySink
    plan: Plan
    limit_samples: int
    guarded: bool = True
    arrived_s: float = field(default_factory=time.perf_counter)
    stage: Stage = Stage.WAITING
    slot: int = -1
    cache_range: CacheRange | None = None
    resumes_as: Stage = Stage.SPEAKING
    started_s: float = 0.0
    first_chunk_s: float = 0.0
    frames: int = 0
    undecoded_frames: int = 0
    chunks: int = 0
    sent_samples: int = 0
    guard: RunawayGuard = field(init=False)
    open_text: OpenText | None = field(init=False)  # None: the text was complete at the start
    text_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        tokens = self.plan.prompt_tokens
        self.open_text = None if tokens.rest is None else OpenText(len(tokens.trailing), tokens.rest)
        self.text_tokens = tokens.text_tokens
        may_pause = asks_for_a_pause(self.request.text, self.request.instruct)
        self.guard = RunawayGuard(self.plan.text_tokens, may_pause, self.guarded)

    @property
    def limit_frames(self) -> int:
        """The number of frames for `limit_samples`; the last one may be cut."""
        return max(1, -(-self.limit_samples // FRAME_SAMPLES))

    @property
    def most_frames(self) -> int:
        """The maximum number of frames, whatever it generates; the guard analyses one frame beyond its budget."""
        return min(self.limit_frames, budget_frames(self.text_tokens) + 1)

    @property
    def max_cache_positions(self) -> int:
        """The maximum number of cache positions."""
        return self.plan.prompt_positions + self.most_frames

    @property
    def expected_cache_positions(self) -> int:
        """The initial number of cache positions: the usual number for texts of its length, and all of its prompt's."""
        trailing = self.plan.prompt_positions + len(self.plan.prompt_tokens.trailing)
        expected = self.plan.prompt_positions + expected_frames(self.text_tokens)
        return min(max(expected, trailing + 1), self.max_cache_positions)

    @property
    def held_cache_positions(self) -> int:
        """The number of cache positions in its range."""
        return 0 if self.cache_range is None else self.cache_range.count

    @property
    def wants_to_grow(self) -> bool:
        """Whether it has no cache position for its next frame."""
        return self.held_cache_positions <= self.plan.prompt_positions + self.frames

    @property
    def due_s(self) -> float:
        """When playback since the first chunk runs out of audio: the later, the less urgent."""
        if not self.chunks:
            return 0.0
        return self.started_s + self.first_chunk_s + self.sent_samples / SAMPLE_RATE_HZ

    @property
    def has_text(self) -> bool:
        """Whether the text of its next frame has arrived."""
        return self.open_text is None or self.open_text.has_token_for(self.frames) or bool(self.open_text.tokens)

    def add_text(self, tokens: Codes[int], rest: str, cache_positions: int, *, final: bool) -> None:
        """Add tokens to its open text, of which `rest` is not tokenized yet. Raises SpeechError if the utterance might
        not fit into `cache_positions`."""
        assert self.open_text is not None
        text_tokens = self.text_tokens + len(tokens)
        most_frames = min(self.limit_frames, budget_frames(text_tokens) + 1)
        if self.plan.prompt_positions + most_frames > cache_positions or len(rest) > MAX_REST_CHARS:
            message = "The text of this stream is too long. Close the stream, and open another for the rest."
            raise SpeechError(ErrorCode.INVALID_REQUEST, message, "text")
        self.text_tokens = self.guard.text_tokens = text_tokens
        self.open_text.tokens += tokens
        self.open_text.rest, self.open_text.is_closed = rest, final

    def add_frame(self) -> None:
        """Count a decoded frame."""
        self.frames += 1
        self.undecoded_frames += 1

    def end_event(self, reason: FinishReason) -> EndEvent:
        """The statistics of the utterance so far."""
        now_s = time.perf_counter()
        started_s = self.started_s or now_s
        return EndEvent(
            finish_reason=reason,
            audio_samples=self.sent_samples,
            text_tokens=self.text_tokens,
            queue_s=round(started_s - self.arrived_s, 6),
            first_chunk_s=round(self.first_chunk_s, 6),
            synthesis_s=round(now_s - started_s, 6),
            warnings=self.plan.warnings,
        )


def limit_samples_of(request: SpeechRequest, max_audio_seconds: float) -> int:
    """The maximum number of samples of a request."""
    return int(min(request.max_audio_seconds or float("inf"), max_audio_seconds) * SAMPLE_RATE_HZ)
