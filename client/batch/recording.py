"""One utterance made ready to be joined: without the model's own silence, with soft edges and even loudness."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from speech_protocol.audio import SAMPLE_RATE_HZ

Samples = NDArray[np.int16]

_FULL_SCALE: Final = 32768.0
_LOUDNESS_DBFS: Final = -20.0
_PEAK_DBFS: Final = -1.0
# Louder or softer by more than this is how it was meant to be said.
_MAX_GAIN_DB: Final = 6.0
_FADE_SAMPLES: Final = SAMPLE_RATE_HZ * 8 // 1000
# A model's own silence at both ends goes, but for this: the pauses are ours.
_EDGE_SAMPLES: Final = SAMPLE_RATE_HZ * 30 // 1000
_BLOCK_SAMPLES: Final = SAMPLE_RATE_HZ // 100
_SILENCE_DBFS: Final = -50.0


def dress(pcm: bytes) -> Samples:
    """The samples of an utterance; of one that is silent, a moment of silence."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float32) / _FULL_SCALE  # [T]
    begin, end = _sound(samples)
    samples = samples[max(0, begin - _EDGE_SAMPLES) : end + _EDGE_SAMPLES].copy()
    if rms := float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if samples.size else 0.0:
        gain_db = min(_MAX_GAIN_DB, max(-_MAX_GAIN_DB, _LOUDNESS_DBFS - 20 * np.log10(rms)))
        gain_db = min(gain_db, _PEAK_DBFS - 20 * np.log10(float(np.abs(samples).max())))
        samples *= 10 ** (gain_db / 20)
    fade = min(_FADE_SAMPLES, samples.size // 2)
    if fade:
        ramp = np.arange(fade, dtype=np.float32) / fade
        samples[:fade] *= ramp
        samples[-fade:] *= ramp[::-1]
    dressed: Samples = np.rint(samples * _FULL_SCALE).clip(-32768, 32767).astype(np.int16)
    return dressed


def silence(seconds: float) -> Samples:
    """Samples of silence."""
    return np.zeros(round(seconds * SAMPLE_RATE_HZ), np.int16)


def _sound(samples: NDArray[np.float32]) -> tuple[int, int]:
    """Where the sound begins and ends, in samples, in blocks of 10 ms."""
    blocks = samples[: samples.size // _BLOCK_SAMPLES * _BLOCK_SAMPLES].reshape(-1, _BLOCK_SAMPLES)
    loud = np.flatnonzero(np.sqrt(np.mean(np.square(blocks), axis=1)) > 10 ** (_SILENCE_DBFS / 20))
    if not loud.size:
        return 0, 0
    last = int(loud[-1]) + 1
    # What is behind the last whole block belongs to it.
    return int(loud[0]) * _BLOCK_SAMPLES, samples.size if last == len(blocks) else last * _BLOCK_SAMPLES
