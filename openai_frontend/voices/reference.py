"""The reference audio of a voice, in memory and as a file."""

import hashlib
import io
import wave
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Reference:
    """The reference recording of a voice: PCM (s16le, mono, 24 kHz), its SHA-256 and its transcript, if any."""

    pcm: bytes
    key: str
    text: str | None = None

    @classmethod
    def from_pcm(cls, pcm: bytes, text: str | None = None) -> Self:
        """The reference of PCM (s16le, mono, 24 kHz), with its hash."""
        return cls(pcm, hashlib.sha256(pcm).hexdigest(), text)


def from_wav(data: bytes) -> bytes:
    """The PCM in a WAV file written by `wav_bytes`. Raises EOFError or wave.Error for any other file."""
    with wave.open(io.BytesIO(data), "rb") as file:
        return file.readframes(file.getnframes())
