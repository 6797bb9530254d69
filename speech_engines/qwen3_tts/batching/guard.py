"""Ends runaway utterances: a few in a thousand miss their end and babble, loop, hiss or stay silent until the limit.

Sound is analysed by frames of 80 ms, relative to the utterance's own loudness, and codes by how much of a frame
repeats. Each sign must last for `WINDOW_FRAMES` or `SILENT_FRAMES`, so that together with the chunk that contains it,
it ends within 4 s.
"""

import re
from collections import deque
from collections.abc import Sequence as Codes
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from speech_engines.base import Samples
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from speech_protocol.events import FinishReason

FRAMES_PER_SECOND: Final = SAMPLE_RATE_HZ / FRAME_SAMPLES
# The length of most texts; cache ranges begin with it, and grow for longer ones.
EXPECTED_BASE_S: Final = 2.0
EXPECTED_S_PER_TOKEN: Final = 0.4
# Slow, expressive speech takes about half a second for each token, digits and symbols up to two: valid speech is never
# cut.
BUDGET_BASE_S: Final = 10.0
BUDGET_S_PER_TOKEN: Final = 2.0
# A loop: frames repeat after 1 to LONGEST_LOOP frames, with most of their 16 codes. In a word that is repeated, or a
# held vowel, some codes repeat and most do not: no two renditions are equal in the codes after the first few.
LONGEST_LOOP: Final = 12
WINDOW_FRAMES: Final = 26  # 2.1 s
LOOP_SHARE: Final = 0.7  # of all codes in the window
# Silence: this far below the loudest frame, or inaudible.
SILENT_FRAMES: Final = 38  # 3 s
PAUSE_FRAMES: Final = 150  # 12 s, if the text or the instructions request a pause
SILENCE_DB: Final = -40.0
INAUDIBLE_DB: Final = -60.0  # of full scale
# Hiss: constant loudness, without the spectral peaks of harmonics and formants.
STEADY_DB: Final = 3.0  # between the loudest and the softest frames
FLATNESS: Final = 0.25  # geometric over arithmetic mean of the spectrum's power; a vowel's is below a tenth
_BAND: Final = slice(8, 640)  # 100 Hz to 8 kHz of a frame's spectrum
_WINDOW: Final = np.hanning(FRAME_SAMPLES).astype(np.float32)
_FLOOR: Final = 1e-12
_ASKS_FOR_A_PAUSE: Final = re.compile(
    r"\b(?:paus|silen|stille|schweig|silêncio|тишин|пауз|молч)\w*|\b(?:wait|warte|attend|espera|aspetta)\w*(?: \w+)? "
    r"(?:\w+ )?(?:second|minut|sekund|segund)\w*|停顿|停頓|暂停|暫停|沉默|静音|沈黙|休止|ポーズ|침묵|멈춤|\.{6,}|…{2,}",
    re.IGNORECASE,
)


def budget_frames(text_tokens: int) -> int:
    """The maximum number of frames for a text."""
    return int((BUDGET_BASE_S + BUDGET_S_PER_TOKEN * text_tokens) * FRAMES_PER_SECOND)


def expected_frames(text_tokens: int) -> int:
    """The usual number of frames for a text."""
    return int((EXPECTED_BASE_S + EXPECTED_S_PER_TOKEN * text_tokens) * FRAMES_PER_SECOND)


def asks_for_a_pause(*texts: str | None) -> bool:
    """Whether a text or instructions mention a pause."""
    return any(_ASKS_FOR_A_PAUSE.search(text) for text in texts if text)


@dataclass(slots=True)
class RunawayGuard:
    """Monitors one utterance. Each method returns the reason to end it, or None."""

    text_tokens: int
    may_pause: bool = False
    listens: bool = True  # otherwise only the frame budget applies
    frames: int = 0
    _silent_frames: int = 0
    _loudest_db: float = INAUDIBLE_DB
    _codes: deque[Codes[int]] = field(default_factory=lambda: deque(maxlen=WINDOW_FRAMES + LONGEST_LOOP))
    _levels: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW_FRAMES))
    _heard: deque[Samples] = field(default_factory=lambda: deque(maxlen=WINDOW_FRAMES))

    def after_frame(self, codes: Codes[int]) -> FinishReason | None:
        """Analyse the next frame's 16 codes."""
        self.frames += 1
        self._codes.append(codes)
        return FinishReason.BUDGET if self.frames > budget_frames(self.text_tokens) else None

    def after_audio(self, samples: Samples) -> FinishReason | None:
        """Analyse the samples, [T], of all frames since the last call; the last frame may be cut."""
        whole = len(samples) // FRAME_SAMPLES
        if not whole or not self.listens:
            return None
        frames = samples[: whole * FRAME_SAMPLES].reshape(whole, FRAME_SAMPLES)
        levels = 10 * np.log10(np.mean(np.square(frames), axis=1) + _FLOOR)
        self._loudest_db = max(self._loudest_db, float(levels.max()))
        silence_db = max(INAUDIBLE_DB, self._loudest_db + SILENCE_DB)
        for frame, level in zip(frames, levels, strict=True):
            self._silent_frames = self._silent_frames + 1 if level < silence_db else 0
            self._levels.append(float(level))
            self._heard.append(frame)
        if self._silent_frames >= (PAUSE_FRAMES if self.may_pause else SILENT_FRAMES):
            return FinishReason.SILENCE
        audible = sum(level >= silence_db for level in self._levels)
        if audible == WINDOW_FRAMES and self._hisses():
            return FinishReason.SILENCE
        # In silence, frames are similar.
        return FinishReason.REPETITION if audible >= WINDOW_FRAMES // 2 and self._loops() else None

    def _hisses(self) -> bool:
        if max(self._levels) - min(self._levels) > STEADY_DB:
            return False
        power = np.square(np.abs(np.fft.rfft(np.array(self._heard) * _WINDOW)))[:, _BAND].mean(0)
        if 10 * np.log10(power.mean() / FRAME_SAMPLES + _FLOOR) < INAUDIBLE_DB - 30:
            return False  # a constant inaudible level
        return bool(np.exp(np.log(power + _FLOOR).mean()) / (power.mean() + _FLOOR) > FLATNESS)

    def _loops(self) -> bool:
        codes = np.array(self._codes)  # [F, 16]
        for period in range(1, len(codes) - WINDOW_FRAMES + 1):
            again = codes[-WINDOW_FRAMES:] == codes[-WINDOW_FRAMES - period : -period]
            if again.mean() >= LOOP_SHARE:
                return True
        return False
