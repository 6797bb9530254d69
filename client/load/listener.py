"""Simulated playback of a reply: when the first sound is audible, and whether the player runs out of audio."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ

# -40 dB below full scale: quieter sound is background noise to a listener.
_AUDIBLE: Final = 328
_WAV_HEAD_BYTES: Final = 44
# A player's buffer covers this delay; a later chunk is an audible gap.
_GRACE_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Heard:
    """Times in seconds from the request. Compressed formats are not decoded, so only their first byte is timed.

    `first_audible_s` is the time of the first sound during playback from the first sample, so leading silence counts.
    """

    first_byte_s: float | None = None
    first_audible_s: float | None = None
    leading_silence_s: float | None = None
    audio_s: float | None = None
    underruns: int = 0
    underrun_s: float = 0.0


class Listener:
    """Receives the pieces of one reply; plays from the first sample on, and pauses when none has arrived.

    `audio_format`: pcm or wav, s16le mono 24 kHz; of any other only the first byte is timed.
    """

    def __init__(self, audio_format: str) -> None:
        self._is_pcm = audio_format in {"pcm", "wav"}
        self._skip = _WAV_HEAD_BYTES if audio_format == "wav" else 0
        self._rest = b""
        self._samples = 0
        self._first_byte_s: float | None = None
        self._first_audible_s: float | None = None
        self._leading_samples: int | None = None
        self._dry_at_s: float | None = None  # when the player has played everything received
        self._underruns = 0
        self._underrun_s = 0.0

    def take(self, data: bytes, at_s: float) -> None:
        """A piece of the body, received `at_s` seconds after the request was sent."""
        if not data:
            return
        if self._first_byte_s is None:
            self._first_byte_s = at_s
        if not self._is_pcm:
            return
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        whole = self._rest + data[skipped:]
        cut = len(whole) - len(whole) % SAMPLE_BYTES
        self._rest = whole[cut:]
        if cut:
            self._play(np.frombuffer(whole[:cut], "<i2"), at_s)

    def heard(self) -> Heard:
        """The result so far."""
        return Heard(
            self._first_byte_s,
            self._first_audible_s,
            None if self._leading_samples is None else self._leading_samples / SAMPLE_RATE_HZ,
            self._samples / SAMPLE_RATE_HZ if self._is_pcm else None,
            self._underruns,
            self._underrun_s,
        )

    def _play(self, samples: "np.ndarray[tuple[int], np.dtype[np.int16]]", at_s: float) -> None:
        if self._dry_at_s is None:
            self._dry_at_s = at_s
        elif at_s > self._dry_at_s + _GRACE_S:
            self._underruns += 1
            self._underrun_s += at_s - self._dry_at_s
            self._dry_at_s = at_s
        if self._leading_samples is None:
            loud = np.flatnonzero(np.abs(samples.astype(np.int32)) >= _AUDIBLE)
            if loud.size:
                self._leading_samples = self._samples + int(loud[0])
                # Audible when it is played or when it arrives, whichever is later.
                self._first_audible_s = max(at_s, self._dry_at_s) + int(loud[0]) / SAMPLE_RATE_HZ
        self._samples += len(samples)
        self._dry_at_s += len(samples) / SAMPLE_RATE_HZ
