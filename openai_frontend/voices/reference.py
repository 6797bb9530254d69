"""The reference audio of a voice, in memory and as a file."""

import hashlib
import io
import wave
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Reference:
    """What a voice is cloned from: PCM (s16le, mono, 24 kHz), its SHA-256 and its transcript, if it has one."""

    pcm: bytes
    key: str
    text: str | None = None

    @classmethod
    def from_pcm(cls, pcm: bytes, text: str | None = None) -> Self:
        return cls(pcm, hashlib.sha256(pcm).hexdigest(), text)


def from_wav(data: bytes) -> bytes:
    """The PCM in a WAV file of `wav_bytes`. Raises EOFError or wave.Error for anything else."""
    with wave.open(io.BytesIO(data), "rb") as file:
        return file.readframes(file.getnframes())
