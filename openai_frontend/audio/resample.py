"""Streaming resampling from 24 kHz for the formats without a codec: FFmpeg's resampler through PyAV."""

from fractions import Fraction

import av

from openai_frontend.audio.encoders import Encoder, PcmEncoder
from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ


class ResampledEncoder:
    """An `Encoder` (see encoders.py) that passes PCM at `sample_rate_hz` to another one."""

    def __init__(self, encoder: Encoder, sample_rate_hz: int) -> None:
        self._encoder = encoder
        self._whole = PcmEncoder()
        self._resampler: av.AudioResampler | None = av.AudioResampler("s16", "mono", sample_rate_hz)
        self._pushed_samples = 0

    def encode(self, pcm: bytes) -> bytes:
        samples = self._whole.encode(pcm)
        if self._resampler is None or not samples:
            return b""
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(samples) // SAMPLE_BYTES)
        frame.planes[0].update(samples)
        frame.sample_rate, frame.time_base = SAMPLE_RATE_HZ, Fraction(1, SAMPLE_RATE_HZ)
        frame.pts = self._pushed_samples
        self._pushed_samples += frame.samples
        return self._encoder.encode(_pcm(self._resampler.resample(frame)))

    def close(self) -> bytes:
        resampler, self._resampler = self._resampler, None
        # A resampler that has received no sample has nothing to flush.
        last = _pcm(resampler.resample(None)) if resampler and self._pushed_samples else b""
        return self._encoder.encode(last) + self._encoder.close()


def _pcm(frames: list[av.AudioFrame]) -> bytes:
    return b"".join(bytes(frame.planes[0])[: frame.samples * SAMPLE_BYTES] for frame in frames)
