"""The response formats: names a client may ask for, what the reply says it is, and how it is encoded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

from openai_frontend.audio.av_encoder import AAC, FLAC, MP3, OPUS, AvEncoder
from openai_frontend.audio.encoders import Encoder, PcmEncoder, WavEncoder


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """One `response_format`. `extension` has no dot; `needs_cpu` tells a codec from a copy."""

    name: str
    content_type: str
    extension: str
    needs_cpu: bool
    new_encoder: Callable[[], Encoder]


def _opus(name: str, extension: str) -> AudioFormat:
    return AudioFormat(name, "audio/ogg", extension, needs_cpu=True, new_encoder=partial(AvEncoder, OPUS))


_WAV: Final = AudioFormat("wav", "audio/wav", "wav", needs_cpu=False, new_encoder=WavEncoder)

FORMATS: Final[Mapping[str, AudioFormat]] = MappingProxyType(
    {
        "mp3": AudioFormat("mp3", "audio/mpeg", "mp3", needs_cpu=True, new_encoder=partial(AvEncoder, MP3)),
        "opus": _opus("opus", "opus"),
        "aac": AudioFormat("aac", "audio/aac", "aac", needs_cpu=True, new_encoder=partial(AvEncoder, AAC)),
        "flac": AudioFormat("flac", "audio/flac", "flac", needs_cpu=True, new_encoder=partial(AvEncoder, FLAC)),
        "wav": _WAV,
        "pcm": AudioFormat("pcm", "audio/pcm", "pcm", needs_cpu=False, new_encoder=PcmEncoder),
        # Not of OpenAI. Opus too: FFmpeg's own Vorbis encoder is experimental, and PyAV's wheels have no libvorbis.
        "ogg": _opus("ogg", "ogg"),
        # What old clients call it.
        "wave": _WAV,
    }
)
