"""Streaming encoders over PyAV: a codec and a muxer that writes into memory without seeking.

Codecs add silence before the audio ("priming"). Opus and FLAC signal its length, or add none, and players remove it;
MP3 and AAC streams cannot, so a reply would start late and play longer than its PCM. Speech begins with silence: the
encoder removes the priming from that silence, and only from it. It also removes half a codec frame, because the last
frame is filled up by half a frame on average. So durations agree within half a frame, 12 ms, and a recording that is
loud from its first sample is kept whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, Literal

import av
import numpy as np
from av.audio.stream import AudioStream

from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ

# The codec is fed in blocks of 40 ms, however the input is split, so the same audio always gives the same frames.
_BLOCK_SAMPLES: Final = 960
_BLOCK_BYTES: Final = _BLOCK_SAMPLES * SAMPLE_BYTES
# -60 dBFS: below the noise floor of a voice and the onset of any word.
_QUIET_PEAK: Final = 32
_TIME_BASE: Final = Fraction(1, SAMPLE_RATE_HZ)


@dataclass(frozen=True, slots=True)
class CodecSettings:
    """Codec parameters. `lead_samples` (at 24 kHz): how much leading silence is removed to compensate for the
    codec's."""

    muxer: str
    codec: Literal["libmp3lame", "libopus", "aac", "flac"]
    sample_rate_hz: int = SAMPLE_RATE_HZ
    bit_rate: int | None = None
    lead_samples: int = 0
    codec_options: Mapping[str, str] = field(default_factory=dict)
    muxer_options: Mapping[str, str] = field(default_factory=dict)


# Constant bit rate: without a Xing header a player derives the rate, and so the length, from the first frame. 128
# kbit/s is similar to OpenAI's files and more than speech needs, so the bit reservoir is off: every frame stands alone,
# and bodies can be split and concatenated anywhere. LAME adds 1,105 samples and fills frames of 576.
MP3: Final = CodecSettings(
    muxer="mp3",
    codec="libmp3lame",
    bit_rate=128_000,
    lead_samples=1_105 + 288,
    codec_options={"reservoir": "0"},
    muxer_options={"write_xing": "0", "id3v2_version": "0"},
)
# 64 kbit/s (VBR, libopus' default) is beyond the point where listeners can tell speech from the original. One page for
# each packet: the default of one page a second would delay the first word.
OPUS: Final = CodecSettings(
    muxer="ogg",
    codec="libopus",
    sample_rate_hz=48_000,
    bit_rate=64_000,
    codec_options={"application": "audio"},
    muxer_options={"page_duration": "20000"},
)
# At 48 kHz, priming (1,024) and frame (1,024) last half as long as at 24 kHz; the "fast" coder is five times cheaper
# than the default and, at 96 kbit/s, equally close to the original.
AAC: Final = CodecSettings(
    muxer="adts",
    codec="aac",
    sample_rate_hz=48_000,
    bit_rate=96_000,
    lead_samples=512 + 256,
    codec_options={"aac_coder": "fast"},
)
# Lossless. Frames of 48 ms (the default is 96), so that a chunk of 80 ms yields one; no padding of 8 KiB in the header.
FLAC: Final = CodecSettings(
    muxer="flac",
    codec="flac",
    codec_options={"frame_size": "1152"},
    muxer_options={"metadata_header_padding": "0"},
)


class _Sink:
    """The muxer's output: it has no seek method, so the muxer streams."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._data)
        self._data.clear()
        return taken


class AvEncoder:
    """An `Encoder` (see encoders.py) for any `CodecSettings`."""

    def __init__(self, settings: CodecSettings) -> None:
        self._sink = _Sink()
        self._pending = bytearray()
        self._encoded_samples = 0
        self._lead_samples = settings.lead_samples
        self._closed = False
        self._container = av.open(self._sink, "w", format=settings.muxer, options=dict(settings.muxer_options))
        self._stream: AudioStream = self._container.add_stream(
            settings.codec, rate=settings.sample_rate_hz, options=dict(settings.codec_options), layout="mono"
        )
        if settings.bit_rate is not None:
            self._stream.codec_context.bit_rate = settings.bit_rate

    def encode(self, pcm: bytes) -> bytes:
        if self._closed:
            return b""
        self._pending += pcm
        whole = len(self._pending) - len(self._pending) % _BLOCK_BYTES
        for start in range(0, whole, _BLOCK_BYTES):
            self._encode_block(bytes(self._pending[start : start + _BLOCK_BYTES]))
        del self._pending[:whole]
        return self._sink.take()

    def close(self) -> bytes:
        if self._closed:
            return b""
        self._closed = True
        try:
            self._encode_block(bytes(self._pending[: len(self._pending) // SAMPLE_BYTES * SAMPLE_BYTES]))
            # A codec that has received no sample is not open, and has nothing to flush.
            if self._encoded_samples:
                self._container.mux(self._stream.codec_context.encode(None))
        finally:
            # Writes the trailer, which flushes the last page or frame.
            self._container.close()
            self._pending.clear()
        return self._sink.take()

    def _encode_block(self, block: bytes) -> None:
        if self._lead_samples:
            block = self._without_quiet_lead(block)
        if not block:
            return
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(block) // SAMPLE_BYTES)
        frame.planes[0].update(block)
        frame.sample_rate, frame.time_base, frame.pts = SAMPLE_RATE_HZ, _TIME_BASE, self._encoded_samples
        self._encoded_samples += frame.samples
        self._container.mux(self._stream.codec_context.encode(frame))

    def _without_quiet_lead(self, block: bytes) -> bytes:
        samples = np.frombuffer(block, "<i2").astype(np.int32)
        loud = np.flatnonzero(np.abs(samples) > _QUIET_PEAK)
        quiet_samples = int(loud[0]) if loud.size else samples.size
        dropped = min(quiet_samples, self._lead_samples)
        self._lead_samples = 0 if loud.size else self._lead_samples - dropped
        return block[dropped * SAMPLE_BYTES :]
