"""Cleans a decoded recording: silence trimmed, loudness normalised."""

from typing import Final

import numpy as np
import numpy.typing as npt
import scipy  # loaded on first use: signal takes a second, and only uploads need it

from openai_frontend.audio.uploads.recording import ReferenceAudioError
from speech_protocol.audio import SAMPLE_RATE_HZ

Samples = npt.NDArray[np.float32]

_FRAME_SAMPLES: Final = SAMPLE_RATE_HZ // 50
# Frames within this range of the loudest one count as speech and determine the loudness.
_SPEECH_DB: Final = -30.0
# Frames within this range count as sound to keep: the start of an "f", the end of a breath.
_SOUND_DB: Final = -45.0
_MARGIN_SAMPLES: Final = SAMPLE_RATE_HZ // 10
_MIN_SAMPLES: Final = SAMPLE_RATE_HZ // 2
# Target RMS of the speech, about -20 LUFS. The gain is constant, and lower if peaks between samples would approach full
# scale: nothing is compressed or limited, so the voice keeps its sound.
_TARGET_DB: Final = -20.0
_PEAK_DB: Final = -1.0
_OVERSAMPLING: Final = 4
# In clean speech a tenth of the samples are near the peak, in a sine four tenths.
_NEAR_PEAK: Final = 0.8
_MAX_NEAR_PEAK: Final = 0.6


def clean(samples: Samples) -> Samples:
    """[N] at 24 kHz, not silent, to [M], at least half a second. Raises ReferenceAudioError if it can't be used."""
    levels_db = _levels_db(samples)
    speech = levels_db > levels_db.max() + _SPEECH_DB
    _check_clipping(samples, speech)
    trimmed = _trim(samples, levels_db)
    speech_db = 10 * np.log10(np.mean(10 ** (levels_db[speech] / 10)))
    gain_db = min(_TARGET_DB - speech_db, _PEAK_DB - _peak_db(trimmed))
    cleaned: Samples = (trimmed * 10 ** (gain_db / 20)).astype(np.float32)
    return cleaned


def _levels_db(samples: Samples) -> npt.NDArray[np.float64]:
    """RMS of each 20 ms, [ceil(N / 480)], in dB relative to full scale."""
    padded = np.pad(samples.astype(np.float64), (0, -samples.size % _FRAME_SAMPLES))
    power = np.square(padded.reshape(-1, _FRAME_SAMPLES)).mean(axis=1)
    levels: npt.NDArray[np.float64] = 10 * np.log10(power + 1e-12)
    return levels


def _check_clipping(samples: Samples, speech: npt.NDArray[np.bool_]) -> None:
    """Reject a recording whose clipping has destroyed the voice."""
    spoken = np.abs(samples)[np.repeat(speech, _FRAME_SAMPLES)[: samples.size]]
    if np.mean(spoken > _NEAR_PEAK * spoken.max()) > _MAX_NEAR_PEAK:
        raise ReferenceAudioError(
            "The recording is clipped so hard that the voice is lost. Record it again at a lower level."
        )


def _trim(samples: Samples, levels_db: npt.NDArray[np.float64]) -> Samples:
    sound = np.flatnonzero(levels_db > levels_db.max() + _SOUND_DB)
    start = max(0, int(sound[0]) * _FRAME_SAMPLES - _MARGIN_SAMPLES)
    trimmed = samples[start : (int(sound[-1]) + 1) * _FRAME_SAMPLES + _MARGIN_SAMPLES]
    if trimmed.size < _MIN_SAMPLES:
        found_s = trimmed.size / SAMPLE_RATE_HZ
        raise ReferenceAudioError(
            f"The recording holds {found_s:.2f} s of sound, the rest is silent. Send 1 to 60 s of one person speaking."
        )
    return trimmed


def _peak_db(samples: Samples) -> float:
    """The peak level of these samples during playback, including between samples."""
    between = scipy.signal.resample_poly(samples, _OVERSAMPLING, 1)
    return float(20 * np.log10(max(np.abs(between).max(), np.abs(samples).max())))
