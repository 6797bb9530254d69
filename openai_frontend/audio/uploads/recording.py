"""Decodes an untrusted recording: bytes in, channels of float samples out, of limited length.

Header values are used only to reject files: decoding stops at a number of samples, not at the end of the file. FFmpeg
is restricted to the containers and codecs of recordings: nothing that can open another file or a URL (playlists), and
no video.
"""

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt
import soundfile as sf
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from openai_frontend.audio.uploads.mp4_guard import claims_too_much, is_mp4
from speech_protocol.errors import ErrorCode, SpeechError

Samples = npt.NDArray[np.float32]

KINDS_TO_SEND: Final = "Send a wav, aiff, flac, mp3, m4a, ogg, webm or amr file."
MIN_RATE_HZ: Final = 8_000
MAX_RATE_HZ: Final = 192_000
MAX_CHANNELS: Final = 8
_BLOCK_SAMPLES: Final = 65_536

# libsndfile is exact and fast for these. It also reads MP3, but prints messages about bad frames to stderr.
_SOUNDFILE_MAGIC: Final = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS")
_MP4_FORMATS: Final = "mov,mp4,m4a,3gp,3g2,mj2"
_OTHER_FORMATS: Final = "matroska,webm,mp3,aac,ogg,flac,wav,aiff,caf,amr"
_PCM: Final = tuple(
    f"pcm_{kind}" for kind in ("u8", "s8", "s16le", "s16be", "s24le", "s24be", "s32le", "s32be", "f32le", "f32be")
)
_LAWS: Final = ("pcm_f64le", "pcm_f64be", "pcm_mulaw", "pcm_alaw", "adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms")
_COMPRESSED: Final = ("aac", "mp3float", "mp3", "opus", "libopus", "vorbis", "flac", "alac", "amrnb", "amrwb")
_CODECS: Final = (*_COMPRESSED, *_PCM, *_LAWS)
# The exceptions of the two libraries for invalid audio; PyAV's own errors are mostly subclasses of these.
_DECODER_ERRORS: Final = (av.FFmpegError, ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError)


class ReferenceAudioError(SpeechError):
    """A reference recording that cannot be used; the message says why, and what to send instead."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.INVALID_REFERENCE_AUDIO, message, "ref_audio")


@dataclass(frozen=True, slots=True)
class Recording:
    """Decoded audio at its original sample rate. `blocks`: each [channels, N], finite, -1 to 1."""

    blocks: tuple[Samples, ...]
    sample_rate_hz: int

    @property
    def length(self) -> int:
        """Samples for each channel."""
        return sum(block.shape[1] for block in self.blocks)


def read_recording(data: bytes, max_s: float) -> Recording:
    """Decode at most `max_s` seconds, rounded up to a block. Raises ReferenceAudioError if that is not possible."""
    readers = (_read_soundfile, _read_av) if data.startswith(_SOUNDFILE_MAGIC) else (_read_av,)
    for reader in readers:
        try:
            recording = reader(data, max_s)
        except _DECODER_ERRORS:
            continue
        if recording.length:
            return recording
    raise ReferenceAudioError(
        "The recording cannot be decoded: the file is damaged, or of a kind that this server does not read. "
        f"{KINDS_TO_SEND}"
    )


def _read_soundfile(data: bytes, max_s: float) -> Recording:
    with sf.SoundFile(io.BytesIO(data)) as file:
        _check_shape(file.samplerate, file.channels)
        blocks = _soundfile_blocks(file)
        return Recording(_collect(blocks, max_s, file.samplerate), file.samplerate)


def _soundfile_blocks(file: Any) -> Iterator[Samples]:
    while (block := file.read(_BLOCK_SAMPLES, dtype="float32", always_2d=True)).size:
        yield _finite(block.T)


def _read_av(data: bytes, max_s: float) -> Recording:
    if is_mp4(data) and claims_too_much(data):
        raise ReferenceAudioError(
            "The file's header is not one of a short recording. Send the recording as wav or flac."
        )
    options = {
        "format_whitelist": _MP4_FORMATS if is_mp4(data) else _OTHER_FORMATS,
        # For FFmpeg's analysis of each stream, which decodes a little; `_audio_stream` checks what PyAV opens.
        "codec_whitelist": ",".join(_CODECS),
        "protocol_whitelist": "none",
    }
    with av.open(io.BytesIO(data), "r", options=options, metadata_errors="ignore") as container:
        frames = _av_frames(container, _audio_stream(container))
        first = next(frames, None)
        if first is None:
            return Recording((), MIN_RATE_HZ)
        _check_shape(first.sample_rate, first.layout.nb_channels)
        blocks = (_frame_samples(frame, first.sample_rate) for frame in itertools.chain([first], frames))
        return Recording(_collect(blocks, max_s, first.sample_rate), first.sample_rate)


def _audio_stream(container: InputContainer) -> AudioStream:
    if not container.streams.audio:
        raise ReferenceAudioError("The file holds no audio track. Send a recording of one person speaking.")
    stream = container.streams.audio[0]
    codec = stream.codec_context.name if stream.codec_context else "unknown"
    if codec not in _CODECS:
        raise ReferenceAudioError(f"The recording's codec, {codec}, is not one that this server reads. {KINDS_TO_SEND}")
    return stream


def _av_frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.InvalidDataError:
            # One bad packet is a click, as in every player.
            continue


def _frame_samples(frame: AudioFrame, rate_hz: int) -> Samples:
    if frame.sample_rate != rate_hz:
        raise ReferenceAudioError("The recording changes its sample rate midway. Send one that does not.")
    samples = frame.to_ndarray()
    full_scale = 1 << (8 * samples.dtype.itemsize - 1) if np.issubdtype(samples.dtype, np.integer) else 1
    middle = full_scale if np.issubdtype(samples.dtype, np.unsignedinteger) else 0
    # [channels, N], or interleaved in one row.
    planar = samples if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels).T
    return _finite(((planar.astype(np.float64) - middle) / full_scale).astype(np.float32))


def _finite(samples: Samples) -> Samples:
    finite = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
    return np.clip(finite, -1.0, 1.0)


def _collect(blocks: Iterator[Samples], max_s: float, rate_hz: int) -> tuple[Samples, ...]:
    kept: list[Samples] = []
    kept_samples = 0
    for block in blocks:
        if kept and block.shape[0] != kept[0].shape[0]:
            raise ReferenceAudioError("The recording changes its number of channels midway. Send one that does not.")
        kept.append(block)
        kept_samples += block.shape[1]
        if kept_samples > max_s * rate_hz:
            break
    return tuple(kept)


def _check_shape(rate_hz: int, channels: int) -> None:
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise ReferenceAudioError(
            f"The recording's sample rate is {rate_hz:,} Hz. Send one of {MIN_RATE_HZ:,} to {MAX_RATE_HZ:,} Hz."
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise ReferenceAudioError(f"The recording has {channels} channels. Send one with 1 to {MAX_CHANNELS}.")
