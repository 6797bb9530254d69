"""Encodes recordings during synthesis: wav, flac, mp3, opus, and m4b or mp3 with chapters. A file is complete or
absent, memory does not grow with its length, and the same audio gives the same bytes."""

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Protocol, cast

import av
import numpy as np
import soundfile
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from speech_protocol.audio import SAMPLE_RATE_HZ

from .mp4 import MAX_CHPL, Mark, finish_mp4, thinned
from .recording import Samples


@dataclass(frozen=True, slots=True)
class _Codec:
    container: str
    codec: str
    bit_rate: int
    rate_hz: int = SAMPLE_RATE_HZ
    options: Mapping[str, str] = field(default_factory=dict)


_CODECS: Final = {
    "mp3": _Codec("mp3", "libmp3lame", 64_000),
    "opus": _Codec("ogg", "libopus", 32_000, 48_000),
    "m4b": _Codec("mp4", "aac", 64_000, options={"brand": "M4B "}),
}
FORMATS: Final = ("wav", "flac", *_CODECS)
CHAPTERED: Final = ("m4b", "mp3")
# Bytes a second of each format, for estimates.
RATES: Final = {"wav": 48_000, "flac": 24_000, "mp3": 8_000, "opus": 4_000, "m4b": 8_000}
# The encoded stream while its chapters are unknown: without header and index, so that memory does not grow.
_BARE: Final = {
    "mp3": _Codec("mp3", "libmp3lame", 64_000, options={"write_xing": "0", "id3v2_version": "0"}),
    "m4b": _Codec("adts", "aac", 64_000),
}
_DEMUXERS: Final = {"mp3": "mp3", "m4b": "aac"}
# The first packet of AAC primes the decoder, and is not audible.
_PRIMING_SAMPLES: Final = {"mp3": 0, "m4b": 1_024}
_PACKET_SAMPLES: Final = {"mp3": 576, "m4b": 1_024}
_FRAME_SAMPLES: Final = 1_024
_SECOND: Final = Fraction(1, SAMPLE_RATE_HZ)
_PICTURES: Final = {"image/jpeg": ("mjpeg", "yuvj420p"), "image/png": ("png", "rgb24")}


@dataclass(frozen=True, slots=True)
class Tags:
    """Metadata of a file; `cover` is a picture and its media type, `language` a code of three letters."""

    fields: Mapping[str, str] = field(default_factory=dict)
    cover: tuple[bytes, str] | None = None
    language: str = ""


class AudioWriter(Protocol):
    """A file being written."""

    def write(self, samples: Samples) -> None:
        """Append samples, [N] at 24 kHz."""

    def finish(self, marks: Sequence[Mark] = ()) -> None:
        """Complete the file and move it into place."""

    def abort(self) -> None:
        """Remove the incomplete file."""


def open_audio(path: Path, file_format: str, tags: Tags, *, chapters: bool = False) -> AudioWriter:
    """A writer of mono at 24 kHz, which is resampled if the format requires it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if chapters:
        return _BookWriter(path, file_format, tags)
    return _StreamWriter(path, _CODECS[file_format], tags) if file_format in _CODECS else _PcmWriter(path, file_format)


class _PcmWriter:
    """Writes wav and flac."""

    def __init__(self, path: Path, file_format: str) -> None:
        self._path, self._unfinished = path, _unfinished(path)
        self._file = soundfile.SoundFile(
            str(self._unfinished), "w", SAMPLE_RATE_HZ, 1, format=file_format.upper(), subtype="PCM_16"
        )

    def write(self, samples: Samples) -> None:
        self._file.write(samples)

    def finish(self, marks: Sequence[Mark] = ()) -> None:
        self._file.close()
        _sync(self._unfinished)
        self._unfinished.replace(self._path)

    def abort(self) -> None:
        self._file.close()
        self._unfinished.unlink(missing_ok=True)


class _StreamWriter:
    """Writes formats whose metadata is known at the start and that need no index."""

    def __init__(self, path: Path, codec: _Codec, tags: Tags) -> None:
        self._path, self._unfinished = path, _unfinished(path)
        self._container = _open(self._unfinished, codec)
        self._container.metadata.update(tags.fields)
        stream = self._container.add_stream(
            codec.codec, rate=codec.rate_hz, layout="mono", options={"flags": "+bitexact"}
        )
        self._stream = cast(AudioStream, stream)
        self._stream.bit_rate = codec.bit_rate
        self._resampler = av.AudioResampler(format=self._stream.format, layout="mono", rate=codec.rate_hz)
        self._rest = np.zeros(0, np.int16)
        self._samples = 0

    def write(self, samples: Samples) -> None:
        samples = np.concatenate((self._rest, samples))
        whole = len(samples) // _FRAME_SAMPLES * _FRAME_SAMPLES
        for begin in range(0, whole, _FRAME_SAMPLES):
            self._encode(samples[begin : begin + _FRAME_SAMPLES])
        self._rest = samples[whole:]

    def finish(self, marks: Sequence[Mark] = ()) -> None:
        if len(self._rest):
            self._encode(self._rest)
        for converted in self._resampler.resample(None):
            self._container.mux(self._stream.encode(converted))
        self._container.mux(self._stream.encode(None))
        self._container.close()
        _sync(self._unfinished)
        self._unfinished.replace(self._path)

    def abort(self) -> None:
        self._container.close()
        self._unfinished.unlink(missing_ok=True)

    def _encode(self, samples: Samples) -> None:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.reshape(1, -1)), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, self._samples, _SECOND
        self._samples += len(samples)
        for converted in self._resampler.resample(frame):
            self._container.mux(self._stream.encode(converted))


class _BookWriter:
    """Writes m4b or mp3 with chapters that are known at the end: the stream is encoded during synthesis, and its index
    is added then."""

    def __init__(self, path: Path, file_format: str, tags: Tags) -> None:
        self._path, self._format, self._tags = path, file_format, tags
        self._bare = path.with_name(f".{path.name}.stream")
        self._indexed = path.with_name(f".{path.name}.index")
        self._encoder = _StreamWriter(self._bare, _BARE[file_format], Tags())

    def write(self, samples: Samples) -> None:
        self._encoder.write(samples)

    def finish(self, marks: Sequence[Mark] = ()) -> None:
        self._encoder.finish()
        if self._format == "mp3":
            # CTOC, the list of chapters, has at most 255 entries, too.
            marks = thinned(marks, MAX_CHPL)
        with _open(self._indexed, _CODECS[self._format]) as output:
            output.metadata.update(self._tags.fields)
            _set_chapters(output, marks)
            self._copy_into(output)
        unfinished = _unfinished(self._path)
        if self._format == "m4b":
            finish_mp4(self._indexed, unfinished, marks)
        else:
            _sync(self._indexed)
            self._indexed.replace(unfinished)
        unfinished.replace(self._path)
        self.abort()

    def abort(self) -> None:
        self._encoder.abort()
        for path in (self._bare, self._indexed, _unfinished(self._path)):
            path.unlink(missing_ok=True)

    def _copy_into(self, output: OutputContainer) -> None:
        samples, position = _PACKET_SAMPLES[self._format], -_PRIMING_SAMPLES[self._format]
        with av.open(str(self._bare), format=_DEMUXERS[self._format]) as bare:
            source = bare.streams.audio[0]
            stream = output.add_stream_from_template(source)
            if self._tags.language:
                stream.metadata["language"] = self._tags.language
            if (cover := _picture(output, self._tags.cover)) is not None:
                output.mux(cover)
            for packet in bare.demux(source):
                if packet.size:
                    packet.stream, packet.time_base = stream, _SECOND
                    packet.pts = packet.dts = position
                    packet.duration = samples
                    position += samples
                    output.mux(packet)


def _open(path: Path, codec: _Codec) -> OutputContainer:
    # Without time stamps and random values in the file.
    options = {"fflags": "+bitexact", **codec.options}
    return av.open(str(path), "w", format=codec.container, options=options)


def _set_chapters(output: OutputContainer, marks: Sequence[Mark]) -> None:
    output.set_chapters(
        [
            {
                "id": number,
                "start": round(1000 * mark.begin_s),
                "end": round(1000 * mark.end_s),
                "time_base": Fraction(1, 1000),
                "metadata": {"title": mark.title},
            }
            for number, mark in enumerate(marks)
        ]
    )


def _picture(output: OutputContainer, cover: tuple[bytes, str] | None) -> "av.Packet[Any] | None":
    """A picture as a stream of one packet, which players show as the cover; None if it can't be read."""
    if cover is None or (size := _size(cover[0])) is None:
        return None
    codec, pixels = _PICTURES[cover[1]]
    stream = cast(VideoStream, output.add_stream(codec))
    stream.width, stream.height = size
    stream.pix_fmt, stream.disposition = pixels, Disposition.attached_pic
    packet: av.Packet[Any] = av.Packet(cover[0])
    packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 1000)
    return packet


def _size(picture: bytes) -> tuple[int, int] | None:
    """The width and height of a picture; None if it can't be read, and so is not a usable cover."""

    try:
        with av.open(io.BytesIO(picture)) as container:
            context = container.streams.video[0].codec_context
            return (context.width, context.height) if context.width and context.height else None
    except (av.FFmpegError, IndexError, ValueError):
        return None


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
