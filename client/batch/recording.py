"""One utterance made ready to be joined: without the model's own silence, with soft edges and even loudness."""

import warnings
from typing import Final

import numpy as np
from numpy.typing import NDArray

from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ

with warnings.catch_warnings():
    # pydub warns if there is no ffmpeg; nothing here needs one.
    warnings.simplefilter("ignore")
    from pydub import AudioSegment
    from pydub.silence import detect_leading_silence

Samples = NDArray[np.int16]

_LOUDNESS_DBFS: Final = -20.0
_PEAK_DBFS: Final = -1.0
# Louder or softer by more than this is how it was meant to be said.
_MAX_GAIN_DB: Final = 6.0
_FADE_MS: Final = 8
# Of a model's own silence, this much stays at both ends: the pauses are ours.
_EDGE_MS: Final = 30
_SILENCE_DBFS: Final = -50.0


def dress(pcm: bytes) -> Samples:
    """The samples of an utterance; of one that is silent, a moment of silence."""
    segment = AudioSegment(pcm, frame_rate=SAMPLE_RATE_HZ, sample_width=SAMPLE_BYTES, channels=1)
    before = max(0, detect_leading_silence(segment, _SILENCE_DBFS) - _EDGE_MS)
    behind = max(0, detect_leading_silence(segment.reverse(), _SILENCE_DBFS) - _EDGE_MS)
    segment = segment[before : max(before + _EDGE_MS, len(segment) - behind)]
    if segment.rms:
        gain_db = max(-_MAX_GAIN_DB, min(_MAX_GAIN_DB, _LOUDNESS_DBFS - segment.dBFS))
        segment = segment.apply_gain(min(gain_db, _PEAK_DBFS - segment.max_dBFS))
    segment = segment.fade_in(_FADE_MS).fade_out(_FADE_MS)
    return np.frombuffer(segment.raw_data, "<i2")


def silence(seconds: float) -> Samples:
    """Samples of silence."""
    return np.zeros(round(seconds * SAMPLE_RATE_HZ), np.int16)
