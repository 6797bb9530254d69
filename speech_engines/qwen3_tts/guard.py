"""Ends utterances that ran away: a few in a thousand miss their end and babble, loop or fall silent until the cap."""

from collections.abc import Sequence as Codes
from dataclasses import dataclass
from typing import Final

import numpy as np

from speech_engines.base import Samples
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from speech_protocol.events import FinishReason

FRAMES_PER_SECOND: Final = SAMPLE_RATE_HZ / FRAME_SAMPLES
# Slow, expressive speech takes about half a second a token, digits and symbols up to two: nothing true is cut.
# What most texts take; their caches begin with it, and grow where it is more.
EXPECTED_BASE_S: Final = 2.0
EXPECTED_S_PER_TOKEN: Final = 0.4
BUDGET_BASE_S: Final = 10.0
BUDGET_S_PER_TOKEN: Final = 2.0
# A held sound varies in its 16 codes; the same frame over and over does not occur in speech.
MAX_EQUAL_FRAMES: Final = 38  # 3 s
MAX_SILENCE_S: Final = 6.0
SILENCE_PEAK: Final = 10 ** (-60 / 20)


def budget_frames(text_tokens: int) -> int:
    """The most that a text can need."""
    return int((BUDGET_BASE_S + BUDGET_S_PER_TOKEN * text_tokens) * FRAMES_PER_SECOND)


def expected_frames(text_tokens: int) -> int:
    """What a text usually needs."""
    return int((EXPECTED_BASE_S + EXPECTED_S_PER_TOKEN * text_tokens) * FRAMES_PER_SECOND)


@dataclass(slots=True)
class RunawayGuard:
    """Watches one utterance. Each method returns why it must end, or None."""

    text_tokens: int
    frames: int = 0
    equal_frames: int = 0
    silent_samples: int = 0
    _last: tuple[int, ...] = ()

    def after_frame(self, codes: Codes[int]) -> FinishReason | None:
        """Look at the next frame's 16 codes."""
        frame = tuple(codes)
        self.frames += 1
        self.equal_frames = self.equal_frames + 1 if frame == self._last else 0
        self._last = frame
        if self.equal_frames >= MAX_EQUAL_FRAMES:
            return FinishReason.REPETITION
        return FinishReason.BUDGET if self.frames > budget_frames(self.text_tokens) else None

    def after_audio(self, samples: Samples) -> FinishReason | None:
        """Look at the next samples, [T]."""
        loud = np.flatnonzero(np.abs(samples) > SILENCE_PEAK)
        self.silent_samples = len(samples) - 1 - int(loud[-1]) if len(loud) else self.silent_samples + len(samples)
        return FinishReason.SILENCE if self.silent_samples > MAX_SILENCE_S * SAMPLE_RATE_HZ else None
