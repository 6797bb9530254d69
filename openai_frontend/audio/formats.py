"""The response formats: their names, media types and encoders."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Final

from openai_frontend.audio.av_encoder import AAC, FLAC, MP3, OPUS, AvEncoder
from openai_frontend.audio.encoders import Encoder, PcmEncoder, WavEncoder
from openai_frontend.audio.resample import ResampledEncoder
from speech_protocol.audio import SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """One `response_format`. `extension` has no dot; `needs_cpu`: encoding takes CPU time worth a thread."""

    name: str
    content_type: str
    extension: str
    needs_cpu: bool
    new_encoder: Callable[..., Encoder]


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
        # Not in OpenAI's API. Also Opus: FFmpeg's Vorbis encoder is experimental, and PyAV's wheels have no libvorbis.
        "ogg": _opus("ogg", "ogg"),
        # An alias of older clients.
        "wave": _WAV,
    }
)

SAMPLE_RATES_HZ: Final = (8_000, 16_000, 22_050, SAMPLE_RATE_HZ, 44_100, 48_000)


def whole(audio_format: AudioFormat, seconds: float) -> AudioFormat:
    """The same format; a wav of up to `seconds` seconds is buffered, so that its header has the real length."""
    if audio_format.name != _WAV.name or not seconds:
        return audio_format
    return replace(audio_format, new_encoder=partial(WavEncoder, whole_seconds=seconds))


def at_rate(audio_format: AudioFormat, sample_rate_hz: int) -> AudioFormat:
    """The same format at another sample rate, one of SAMPLE_RATES_HZ; a codec with a fixed rate is unchanged.

    Raises ValueError for an unknown rate, or a format with a fixed rate.
    """
    if sample_rate_hz not in SAMPLE_RATES_HZ:
        raise ValueError(f"{sample_rate_hz} is not one of {', '.join(map(str, SAMPLE_RATES_HZ))}")
    if sample_rate_hz == SAMPLE_RATE_HZ:
        return audio_format
    new_wav = partial(audio_format.new_encoder, sample_rate_hz)
    encoders: dict[str, Callable[[], Encoder]] = {
        "wav": lambda: ResampledEncoder(new_wav(), sample_rate_hz),
        "pcm": lambda: ResampledEncoder(PcmEncoder(), sample_rate_hz),
        "flac": partial(AvEncoder, replace(FLAC, sample_rate_hz=sample_rate_hz)),
    }
    if audio_format.name not in encoders:
        raise ValueError(f"{audio_format.name} has a fixed sample rate; {', '.join(encoders)} support others")
    return replace(audio_format, needs_cpu=True, new_encoder=encoders[audio_format.name])
