"""The ends of a segment where another follows: its own silence is cut off, so that a pause is as long as it says."""

from typing import Final

import numpy as np

from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ

# -50 dBFS; a sound that fades out is kept for a moment longer.
_QUIET_PEAK: Final = 100
_MARGIN_BYTES: Final = int(0.03 * SAMPLE_RATE_HZ) * SAMPLE_BYTES


class SeamTrimmer:
    """One segment's PCM (s16le, mono, 24 kHz, whole samples) without silence at its start, its end, or both.

    What is quiet waits until something loud follows, so nothing else is late.
    """

    def __init__(self, *, start: bool, end: bool) -> None:
        self._trims_start = start
        self._trims_end = end
        self._held = bytearray()

    def trim(self, pcm: bytes) -> bytes:
        """The PCM that is known to stay."""
        self._held += pcm
        loud = np.flatnonzero(np.abs(np.frombuffer(bytes(self._held), "<i2").astype(np.int32)) > _QUIET_PEAK)
        if self._trims_start:
            lead_bytes = int(loud[0]) * SAMPLE_BYTES if loud.size else len(self._held)
            dropped_bytes = max(0, lead_bytes - _MARGIN_BYTES)
            del self._held[:dropped_bytes]
            loud -= dropped_bytes // SAMPLE_BYTES
            self._trims_start = not loud.size
        if not self._trims_end and not self._trims_start:
            return self._take(len(self._held))
        return self._take((int(loud[-1]) + 1) * SAMPLE_BYTES if loud.size else 0)

    def finish(self) -> bytes:
        """What is left of the last sound, at the segment's end."""
        return self._take(_MARGIN_BYTES)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken
