"""An uploaded reference recording, any common format, to the PCM that the engines take."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy  # its modules load when they are first used: signal takes a second, and only uploads need it

from openai_frontend.audio.cleaning import clean
from openai_frontend.audio.recording import Recording, ReferenceAudioError, read_recording
from speech_protocol.audio import SAMPLE_RATE_HZ

__all__ = ["ReferenceAudioError", "clean_reference", "decode_reference"]

# -60 dBFS: nothing a microphone would make of a voice.
_SILENCE_PEAK: Final = 1e-3


def decode_reference(data: bytes, *, min_s: float = 1.0, max_s: float = 60.0) -> bytes:
    """Decode `data`, a whole file, to PCM: s16le, mono, 24 kHz. CPU work, up to about a second: call it in a thread.

    Raises ReferenceAudioError if it is not audio, silent, or not `min_s` to `max_s` seconds long.
    """
    if not data:
        raise ReferenceAudioError("The recording is an empty file. Send a wav, flac, mp3, ogg, aac, m4a or webm file.")
    recording = read_recording(data, max_s)
    _check_length(recording, min_s, max_s)
    if float(np.abs(recording.samples).max()) < _SILENCE_PEAK:
        raise ReferenceAudioError("The recording is silent. Send one in which a person speaks.")
    return _to_pcm(_resample(recording))


def clean_reference(data: bytes) -> bytes:
    """`decode_reference`, its ends trimmed and its loudness that of every reference: what voices are cloned from.

    Raises ReferenceAudioError if there is no voice in it.
    """
    samples = np.frombuffer(decode_reference(data), "<i2").astype(np.float32) / 32_768
    return _to_pcm(clean(samples))


def _check_length(recording: Recording, min_s: float, max_s: float) -> None:
    length_s = recording.samples.size / recording.sample_rate_hz
    wanted = f"Send {min_s:g} to {max_s:g} s of one person speaking."
    if length_s < min_s:
        raise ReferenceAudioError(f"The recording is {length_s:.2f} s long, too short. {wanted}")
    # How long it really is stays unknown: decoding stopped here.
    if length_s > max_s:
        raise ReferenceAudioError(f"The recording is longer than {max_s:g} s. {wanted}")


def _resample(recording: Recording) -> npt.NDArray[np.float32]:
    if recording.sample_rate_hz == SAMPLE_RATE_HZ:
        return recording.samples
    divisor = math.gcd(SAMPLE_RATE_HZ, recording.sample_rate_hz)
    resampled: npt.NDArray[np.float32] = scipy.signal.resample_poly(
        recording.samples, SAMPLE_RATE_HZ // divisor, recording.sample_rate_hz // divisor
    )
    return resampled


def _to_pcm(samples: npt.NDArray[np.float32]) -> bytes:
    pcm: npt.NDArray[np.int16] = np.clip(np.rint(samples * 32_768.0), -32_768, 32_767).astype("<i2")
    return pcm.tobytes()
