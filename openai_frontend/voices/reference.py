"""What a voice is cloned from, in memory and as a file."""

import hashlib
import io
import wave
from dataclasses import dataclass
from typing import Self

from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Reference:
    """What a voice is cloned from: PCM (s16le, mono, 24 kHz), its SHA-256 and its transcript, if it has one."""

    pcm: bytes
    key: str
    text: str | None = None

    @classmethod
    def of(cls, pcm: bytes, text: str | None = None) -> Self:
        return cls(pcm, hashlib.sha256(pcm).hexdigest(), text)


def to_wav(pcm: bytes) -> bytes:
    """PCM (s16le, mono, 24 kHz) as a whole WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(SAMPLE_BYTES)
        out.setframerate(SAMPLE_RATE_HZ)
        out.writeframes(pcm)
    return file.getvalue()


def from_wav(data: bytes) -> bytes:
    """What `to_wav` wrapped. Raises EOFError or wave.Error for anything else."""
    with wave.open(io.BytesIO(data), "rb") as file:
        return file.readframes(file.getnframes())
