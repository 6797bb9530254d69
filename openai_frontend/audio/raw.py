"""Raw encodings of telephony and float pipelines: mu-law, A-law and float32, at any of the sample rates."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from openai_frontend.audio.encoders import Encoder, PcmEncoder
from openai_frontend.audio.formats import FORMATS, AudioFormat, at_rate

_BIAS, _CLIP = 33, 8_158  # of mu-law (G.711), on 14 bits


def raw_format(encoding: str, sample_rate_hz: int) -> AudioFormat:
    """`pcm_s16le`, `pcm_f32le`, `pcm_mulaw` or `pcm_alaw`, mono. Raises ValueError for another encoding or an unknown
    rate."""
    pcm = at_rate(FORMATS["pcm"], sample_rate_hz)
    if encoding == "pcm_s16le":
        return pcm
    if encoding not in _CONVERTERS:
        raise ValueError(f"{encoding} is not one of pcm_s16le, {', '.join(_CONVERTERS)}")
    convert, new_inner = _CONVERTERS[encoding], pcm.new_encoder
    return replace(pcm, new_encoder=lambda: _ConvertedEncoder(new_inner(), convert))


class _ConvertedEncoder:
    """An `Encoder` that converts the PCM of another one."""

    def __init__(self, inner: Encoder, convert: Callable[[bytes], bytes]) -> None:
        self._inner, self._convert, self._whole = inner, convert, PcmEncoder()

    def encode(self, pcm: bytes) -> bytes:
        return self._convert(self._whole.encode(self._inner.encode(pcm)))

    def close(self) -> bytes:
        return self._convert(self._whole.encode(self._inner.close()))


def _float32(pcm: bytes) -> bytes:
    return (np.frombuffer(pcm, "<i2") / 32768).astype("<f4").tobytes()


def _mu_law(pcm: bytes) -> bytes:
    return bytes(_mu_law_table()[np.frombuffer(pcm, "<u2")])


def _a_law(pcm: bytes) -> bytes:
    return bytes(_a_law_table()[np.frombuffer(pcm, "<u2")])


@cache
def _mu_law_table() -> npt.NDArray[np.uint8]:
    """The byte of each sample, [65536], by its bits."""
    samples = _samples() >> 2  # 14 bits
    magnitude = np.minimum(np.abs(samples), _CLIP) + _BIAS
    exponent = np.floor(np.log2(magnitude)).astype(int) - 5
    mantissa = (magnitude >> (exponent + 1)) & 0x0F
    table: npt.NDArray[np.uint8] = ((exponent << 4 | mantissa) ^ np.where(samples < 0, 0x7F, 0xFF)).astype(np.uint8)
    return table


@cache
def _a_law_table() -> npt.NDArray[np.uint8]:
    """The byte of each sample, [65536], by its bits."""
    samples = _samples() >> 3  # 13 bits
    magnitude = np.where(samples < 0, -samples - 1, samples)
    exponent = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(int) - 4, 0)
    mantissa = np.where(exponent > 0, magnitude >> np.maximum(exponent, 1), magnitude >> 1) & 0x0F
    table: npt.NDArray[np.uint8] = ((exponent << 4 | mantissa) ^ np.where(samples < 0, 0x55, 0xD5)).astype(np.uint8)
    return table


def _samples() -> npt.NDArray[np.int64]:
    return np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int64)


_CONVERTERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "pcm_f32le": _float32,
    "pcm_mulaw": _mu_law,
    "pcm_alaw": _a_law,
}
