"""Trims silence: at a reply's start, and at the ends of a segment if another follows, so that a
pause is as long as it says."""

from typing import Final

import numpy as np
import numpy.typing as npt

from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ

# -50 dBFS; a sound that fades out is kept for a moment longer.
_QUIET_PEAK: Final = 100
_MARGIN_S: Final = 0.03
# -60 dBFS, as of what an encoder takes its own silence: before a first sound nothing that may be heard is cut.
_LEAD_PEAK: Final = 32
# Longer silence than this is not the lead-in of a voice.
LONGEST_LEAD_S: Final = 2.0


class LeadTrimmer:
    """A reply's PCM (s16le, mono, 24 kHz, whole samples) with at most `keep_s` seconds of silence before the first
    sound. One that stays quiet for LONGEST_LEAD_S is not cut at all."""

    def __init__(self, keep_s: float) -> None:
        self._keep_bytes = _bytes_of(keep_s)
        # None: nothing is to be cut, or not any more.
        self._held = bytearray() if keep_s < LONGEST_LEAD_S else None

    def trim(self, pcm: bytes) -> bytes:
        """The PCM that is known to stay."""
        if self._held is None:
            return pcm
        self._held += pcm
        loud = _loud(self._held, _LEAD_PEAK)
        if not loud.size and len(self._held) < _bytes_of(LONGEST_LEAD_S):
            return b""
        lead_bytes = int(loud[0]) * SAMPLE_BYTES if loud.size else 0
        return self.finish()[max(0, lead_bytes - self._keep_bytes) :]

    def finish(self) -> bytes:
        """What was quiet up to the end."""
        held, self._held = self._held or b"", None
        return bytes(held)


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
        """Samples that were neither returned nor dropped yet."""
        return len(self._held) // SAMPLE_BYTES

    def finish(self) -> bytes:
        """What is left of the last sound, at the segment's end."""
        return self._take(_bytes_of(_MARGIN_S))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken


def _bytes_of(seconds: float) -> int:
    return int(seconds * SAMPLE_RATE_HZ) * SAMPLE_BYTES


def _loud(pcm: bytearray, above: int) -> npt.NDArray[np.intp]:
    """Which samples are no silence."""
    return np.flatnonzero(np.abs(np.frombuffer(bytes(pcm), "<i2").astype(np.int32)) > above)
