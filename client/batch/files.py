"""Recordings to files: wav, flac, mp3, opus, and m4b or mp3 with chapters; the same bytes for the same audio."""

import io
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final, cast

import av
import numpy as np
import soundfile
from av.audio.stream import AudioStream

from client.batch.recording import Caption
from client.batch.store import write_whole
from speech_protocol.audio import SAMPLE_RATE_HZ

# Container, codec, bit rate, sample rate of what PyAV writes.
_CODECS: Final = {
    "mp3": ("mp3", "libmp3lame", 64_000, SAMPLE_RATE_HZ),
    "opus": ("ogg", "libopus", 32_000, 48_000),
    "m4b": ("ipod", "aac", 64_000, SAMPLE_RATE_HZ),
}
FORMATS: Final = ("wav", "flac", *_CODECS)
CHAPTERED: Final = ("m4b", "mp3")
_FRAME_SAMPLES: Final = 1_024
Chapter = tuple[str, float, float]  # title, and from when to when, in seconds


def write_audio(
    path: Path, file_format: str, pcm: bytes, tags: Mapping[str, str], chapters: Sequence[Chapter] = ()
) -> None:
    """Write `pcm` (s16le, mono, 24 kHz), whole or not at all."""
    samples = np.frombuffer(pcm, "<i2")
    file = io.BytesIO()
    if file_format in _CODECS:
        _encode(file, file_format, samples, tags, chapters)
    else:
        soundfile.write(file, samples, SAMPLE_RATE_HZ, format=file_format.upper(), subtype="PCM_16")
    write_whole(path, file.getvalue())


def _encode(
    file: io.BytesIO,
    file_format: str,
    samples: "np.ndarray[tuple[int], np.dtype[np.int16]]",
    tags: Mapping[str, str],
    chapters: Sequence[Chapter],
) -> None:
    container_format, codec, bit_rate, rate_hz = _CODECS[file_format]
    # Nothing of the clock or of chance in the file.
    options = {"fflags": "+bitexact"}
    with av.open(file, "w", format=container_format, options=options) as container:
        container.metadata.update(tags)
        if chapters:
            container.set_chapters(
                [
                    {
                        "id": number,
                        "start": round(1000 * begin_s),
                        "end": round(1000 * end_s),
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": title},
                    }
                    for number, (title, begin_s, end_s) in enumerate(chapters)
                ]
            )
        options = {"flags": "+bitexact"}
        stream = cast(AudioStream, container.add_stream(codec, rate=rate_hz, layout="mono", options=options))
        stream.bit_rate = bit_rate
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate_hz)
        for begin in range(0, len(samples), _FRAME_SAMPLES):
            block = samples[begin : begin + _FRAME_SAMPLES].reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, begin, Fraction(1, SAMPLE_RATE_HZ)
            for converted in resampler.resample(frame):
                container.mux(stream.encode(converted))
        for converted in resampler.resample(None):
            container.mux(stream.encode(converted))
        container.mux(stream.encode(None))


def write_captions(path: Path, kind: str, captions: Sequence[Caption]) -> None:
    """Subtitles, `srt` or `vtt`; a player shows each as long as it is heard."""
    point = "," if kind == "srt" else "."
    blocks = [
        f"{number}\n{_time(each.begin_s, point)} --> {_time(each.end_s, point)}\n{' '.join(each.text.split())}\n"
        for number, each in enumerate(captions, 1)
    ]
    head = "WEBVTT\n\n" if kind == "vtt" else ""
    write_whole(path, (head + "\n".join(blocks)).encode())


def _time(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
