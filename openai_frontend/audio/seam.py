"""Trims silence at the start of a reply, and between segments, so that pauses have exactly their stated length."""

from typing import Final

import numpy as np
import numpy.typing as npt

from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ

# -50 dBFS; a fading sound is kept for a moment longer.
_QUIET_PEAK: Final = 100
_MARGIN_S: Final = 0.03
# -60 dBFS, as in the encoder: nothing audible is cut before the first sound.
_LEAD_PEAK: Final = 32
# Silence longer than this is not the lead-in of a voice.
LONGEST_LEAD_S: Final = 2.0


class LeadTrimmer:
    """A reply's PCM (s16le, mono, 24 kHz, whole samples) with at most `keep_s` seconds of silence before the first
    sound. Audio that is quiet for LONGEST_LEAD_S is not cut at all."""

    def __init__(self, keep_s: float) -> None:
        self._keep_bytes = _bytes_of(keep_s)
        # None: nothing is trimmed (any more).
        self._held = bytearray() if keep_s < LONGEST_LEAD_S else None

    def trim(self, pcm: bytes) -> bytes:
        """The PCM that is certain to be kept."""
        if self._held is None:
            return pcm
        self._held += pcm
        loud = _loud(self._held, _LEAD_PEAK)
        if not loud.size and len(self._held) < _bytes_of(LONGEST_LEAD_S):
            return b""
        lead_bytes = int(loud[0]) * SAMPLE_BYTES if loud.size else 0
        return self.finish()[max(0, lead_bytes - self._keep_bytes) :]

    def finish(self) -> bytes:
        """The remaining quiet PCM at the end."""
        held, self._held = self._held or b"", None
        return bytes(held)


class SeamTrimmer:
    """A segment's PCM (s16le, mono, 24 kHz, whole samples) without silence at its start, its end, or both.

    Quiet audio is held until a loud sample follows; all other audio passes without delay.
    """

    def __init__(self, *, start: bool, end: bool) -> None:
        self._trims_start = start
        self._trims_end = end
        self._held = bytearray()

    def trim(self, pcm: bytes) -> bytes:
        """The PCM that is certain to be kept."""
        self._held += pcm
        loud = _loud(self._held, _QUIET_PEAK)
        if self._trims_start:
            lead_bytes = int(loud[0]) * SAMPLE_BYTES if loud.size else len(self._held)
            dropped_bytes = max(0, lead_bytes - _bytes_of(_MARGIN_S))
            del self._held[:dropped_bytes]
            loud -= dropped_bytes // SAMPLE_BYTES
            self._trims_start = not loud.size
        if not self._trims_end and not self._trims_start:
            return self._take(len(self._held))
        return self._take((int(loud[-1]) + 1) * SAMPLE_BYTES if loud.size else 0)

    @property
    def held_samples(self) -> int:
        """Samples that have been neither returned nor dropped."""
        return len(self._held) // SAMPLE_BYTES

    def finish(self) -> bytes:
        """The rest of the last sound, at the end of the segment."""
        return self._take(_bytes_of(_MARGIN_S))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken


def _bytes_of(seconds: float) -> int:
    return int(seconds * SAMPLE_RATE_HZ) * SAMPLE_BYTES


def _loud(pcm: bytearray, above: int) -> npt.NDArray[np.intp]:
    """Which samples are not silent."""
    return np.flatnonzero(np.abs(np.frombuffer(bytes(pcm), "<i2").astype(np.int32)) > above)
