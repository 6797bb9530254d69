"""Prepares an utterance for joining: without the model's own silence, with faded edges and equalised loudness."""

import warnings
from typing import Final

import numpy as np
from numpy.typing import NDArray

from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ

with warnings.catch_warnings():
    # pydub warns without ffmpeg, which is not needed here.
    warnings.simplefilter("ignore")
    from pydub import AudioSegment
    from pydub.silence import detect_leading_silence

Samples = NDArray[np.int16]

_LOUDNESS_DBFS: Final = -20.0
_PEAK_DBFS: Final = -1.0
# A larger difference in loudness is assumed to be intended.
_MAX_GAIN_DB: Final = 6.0
_FADE_MS: Final = 8
# The part of the model's own silence that is kept at both ends; pauses are added separately.
_EDGE_MS: Final = 30
_SILENCE_DBFS: Final = -50.0


def dress(pcm: bytes) -> tuple[Samples, int]:
    """The samples of an utterance, a short silence if it is silent; and the number of samples removed at its start."""
    segment = AudioSegment(pcm, frame_rate=SAMPLE_RATE_HZ, sample_width=SAMPLE_BYTES, channels=1)
    before = max(0, detect_leading_silence(segment, _SILENCE_DBFS) - _EDGE_MS)
    behind = max(0, detect_leading_silence(segment.reverse(), _SILENCE_DBFS) - _EDGE_MS)
    segment = segment[before : max(before + _EDGE_MS, len(segment) - behind)]
    if segment.rms:
        gain_db = max(-_MAX_GAIN_DB, min(_MAX_GAIN_DB, _LOUDNESS_DBFS - segment.dBFS))
        segment = segment.apply_gain(min(gain_db, _PEAK_DBFS - segment.max_dBFS))
    segment = segment.fade_in(_FADE_MS).fade_out(_FADE_MS)
    return np.frombuffer(segment.raw_data, "<i2"), before * SAMPLE_RATE_HZ // 1000


def silence(seconds: float) -> Samples:
    """Silence of that length."""
    return np.zeros(round(seconds * SAMPLE_RATE_HZ), np.int16)
