"""An uploaded reference recording, in any common format, as PCM for the engines."""

from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy  # loaded on first use: signal takes a second, and only uploads need it

from openai_frontend.audio.uploads.cleaning import clean
from openai_frontend.audio.uploads.mixing import MAX_OFFSET, mono
from openai_frontend.audio.uploads.recording import (
    KINDS_TO_SEND,
    Recording,
    ReferenceAudioError,
    Samples,
    read_recording,
)
from speech_protocol.audio import SAMPLE_RATE_HZ

__all__ = ["ReferenceAudioError", "clean_reference", "decode_reference"]

# -60 dBFS: below the level of any microphone recording of a voice.
_SILENCE_PEAK: Final = 1e-3
# Below the frequency range of voices.
_DRIFT_HZ: Final = 20.0
# The exact ratio of an odd rate needs a filter of a million taps; this one is off by at most 50 ppm, as the clock of a
# sound card is.
_MAX_RATIO: Final = 20_000


def decode_reference(data: bytes, *, min_s: float = 1.0, max_s: float = 60.0) -> bytes:
    """Decode a complete file to PCM: s16le, mono, 24 kHz. CPU work, up to about a second: call it in a thread.

    Raises ReferenceAudioError if it is not audio, silent, or not `min_s` to `max_s` seconds long.
    """
    if not data:
        raise ReferenceAudioError(f"The recording is an empty file. {KINDS_TO_SEND}")
    recording = read_recording(data, max_s)
    _check_length(recording, min_s, max_s)
    samples = _without_drift(_resample(mono(recording), recording.sample_rate_hz))
    if float(np.abs(samples).max()) < _SILENCE_PEAK:
        raise ReferenceAudioError("The recording is silent. Send one in which a person speaks.")
    return _to_pcm(samples)


def clean_reference(data: bytes) -> bytes:
    """`decode_reference`, trimmed and normalised in loudness: the recording that voices are cloned from.

    Raises ReferenceAudioError if it contains no voice.
    """
    samples = np.frombuffer(decode_reference(data), "<i2").astype(np.float32) / 32_768
    return _to_pcm(clean(samples))


def _check_length(recording: Recording, min_s: float, max_s: float) -> None:
    length_s = recording.length / recording.sample_rate_hz
    wanted = f"Send {min_s:g} to {max_s:g} s of one person speaking."
    if length_s < min_s:
        raise ReferenceAudioError(f"The recording is {length_s:.2f} s long, too short. {wanted}")
    # The actual length is unknown, since decoding stopped here.
    if length_s > max_s:
        raise ReferenceAudioError(f"The recording is longer than {max_s:g} s. {wanted}")


def _resample(samples: Samples, rate_hz: int) -> Samples:
    """[N] at `rate_hz` to [M] at 24 kHz."""
    if rate_hz == SAMPLE_RATE_HZ:
        return samples
    ratio = Fraction(SAMPLE_RATE_HZ, rate_hz).limit_denominator(_MAX_RATIO)
    resampled: Samples = scipy.signal.resample_poly(samples, ratio.numerator, ratio.denominator)
    return resampled


def _without_drift(samples: Samples) -> Samples:
    """[N] at 24 kHz without an offset that changes over time."""
    seconds = samples[: samples.size // SAMPLE_RATE_HZ * SAMPLE_RATE_HZ].reshape(-1, SAMPLE_RATE_HZ)
    if seconds.size == 0 or np.abs(seconds.mean(axis=1)).max() <= MAX_OFFSET:
        return samples
    high_pass = scipy.signal.butter(2, _DRIFT_HZ, "highpass", fs=SAMPLE_RATE_HZ, output="sos")
    steady: Samples = scipy.signal.sosfiltfilt(high_pass, samples).astype(np.float32)
    return steady


def _to_pcm(samples: Samples) -> bytes:
    pcm: npt.NDArray[np.int16] = np.clip(np.rint(samples * 32_768.0), -32_768, 32_767).astype("<i2")
    return pcm.tobytes()
