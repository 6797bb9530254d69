"""The interface of every streaming encoder, and the two that need no codec: raw PCM and WAV."""

import struct
from typing import Final, Protocol

from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ

WAV_HEADER_BYTES: Final = 44
_WAV_SIZE_UNKNOWN: Final = 0xFFFF_FFFF


class Encoder(Protocol):
    """PCM (s16le, mono, 24 kHz) in, bytes of one file out. For one reply, and for one thread at a time."""

    def encode(self, pcm: bytes) -> bytes:
        """Add PCM of any length, even half a sample; return the bytes that are ready, if any."""
        ...

    def close(self) -> bytes:
        """Return the rest of the file and free the codec. Afterwards both methods return nothing."""
        ...


class PcmEncoder:
    """PCM unchanged, but in whole samples: half a sample waits for its other half."""

    def __init__(self) -> None:
        self._half = b""
        self._closed = False

    def encode(self, pcm: bytes) -> bytes:
        if self._closed:
            return b""
        joined = self._half + pcm
        whole = len(joined) - len(joined) % SAMPLE_BYTES
        self._half = joined[whole:]
        return joined[:whole]

    def close(self) -> bytes:
        # A trailing half sample is dropped.
        self._closed = True
        self._half = b""
        return b""


class WavEncoder:
    """WAV of unknown length: the header, in the first bytes returned, has 0xFFFFFFFF for both sizes.

    Up to `whole_seconds` of audio are buffered, so that a shorter file has its real sizes.
    """

    def __init__(self, sample_rate_hz: int = SAMPLE_RATE_HZ, whole_seconds: float = 0.0) -> None:
        self._pcm = PcmEncoder()
        self._sample_rate_hz = sample_rate_hz
        self._held: bytearray | None = bytearray()  # None once the header has been returned
        self._held_limit = int(whole_seconds * sample_rate_hz) * SAMPLE_BYTES

    def encode(self, pcm: bytes) -> bytes:
        samples = self._pcm.encode(pcm)
        if self._held is None:
            return samples
        self._held += samples
        if len(self._held) <= self._held_limit:
            return b""
        held, self._held = self._held, None
        return _wav_header(None, self._sample_rate_hz) + held

    def close(self) -> bytes:
        # Without any audio the header alone is still a valid file.
        held, self._held = self._held, None
        return self._pcm.close() if held is None else _wav_header(len(held), self._sample_rate_hz) + held


def wav_bytes(pcm: bytes) -> bytes:
    """A complete WAV file with real sizes, for a reply that is sent when complete. `pcm` is whole samples."""
    return _wav_header(len(pcm)) + pcm


def _wav_header(data_bytes: int | None, sample_rate_hz: int = SAMPLE_RATE_HZ) -> bytes:
    riff_size = _WAV_SIZE_UNKNOWN if data_bytes is None else WAV_HEADER_BYTES - 8 + data_bytes
    data_size = _WAV_SIZE_UNKNOWN if data_bytes is None else data_bytes
    byte_rate = sample_rate_hz * SAMPLE_BYTES
    pcm_tag, channels, fmt_bytes = 1, 1, 16
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", riff_size, b"WAVE", b"fmt ", fmt_bytes, pcm_tag, channels, sample_rate_hz, byte_rate),
        *(SAMPLE_BYTES, 8 * SAMPLE_BYTES, b"data", data_size),
    )
