"""Synthetic sounds, and decoders other than the code under test, for the audio tests."""

import io
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
import scipy  # scipy.signal takes most of a second, and is loaded when it is used
import soundfile as sf

from speech_protocol.audio import SAMPLE_RATE_HZ

Samples = npt.NDArray[np.float64]
CHUNK_BYTES = 3_840  # 80 ms, what an engine sends at a time
TAIL_HZ = 1_500


def tone(hz: float, length_s: float, rate_hz: int = SAMPLE_RATE_HZ, amplitude: float = 0.4) -> Samples:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(length_s * rate_hz)) / rate_hz)


def voice(hz: float, length_s: float) -> Samples:
    """A harmonic tone, like a vowel: a fundamental and four overtones."""
    return sum((tone(hz * n, length_s, amplitude=0.3 / n) for n in range(1, 6)), np.zeros(round(length_s * 24_000)))


def utterance(length_s: float, lead_s: float = 0.15) -> Samples:
    """Like speech: it opens with silence; a rising tone of uneven loudness; its last 100 ms are a tone of 1,500 Hz."""
    t = np.arange(round((length_s - lead_s - 0.1) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    middle = 0.4 * np.sin(2 * np.pi * (200 * t + 100 * t * t)) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t))
    return np.concatenate([np.zeros(round(lead_s * SAMPLE_RATE_HZ)), middle, tone(TAIL_HZ, 0.1)])


def to_pcm(samples: Samples) -> bytes:
    return np.rint(samples * 32_767).astype("<i2").tobytes()


def from_pcm(pcm: bytes) -> Samples:
    return np.frombuffer(pcm, "<i2") / 32_768


def chunks(pcm: bytes, size: int = CHUNK_BYTES) -> list[bytes]:
    return [pcm[start : start + size] for start in range(0, len(pcm), size)]


def random_splits(pcm: bytes, seed: int) -> list[bytes]:
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, len(pcm), 60))
    return [pcm[a:b] for a, b in zip([0, *cuts], [*cuts, len(pcm)], strict=True)]


def decode(body: bytes, name: str) -> Samples:
    """The audio that a player would play, at 24 kHz."""
    if name == "pcm":
        return from_pcm(body)
    with av.open(io.BytesIO(body)) as container:
        frames = list(container.decode(audio=0))
    parts = [frame.to_ndarray().reshape(-1) for frame in frames]
    scale = 1.0 if parts[0].dtype.kind == "f" else float(2 ** (8 * parts[0].itemsize - 1))
    samples = np.concatenate(parts) / scale
    rate_hz = frames[0].sample_rate
    return samples if rate_hz == SAMPLE_RATE_HZ else scipy.signal.resample_poly(samples, SAMPLE_RATE_HZ, rate_hz)


def packets(body: bytes) -> list[bytes]:
    with av.open(io.BytesIO(body)) as container:
        return [bytes(packet) for packet in container.demux(audio=0)]


def best_shift(decoded: Samples, original: Samples) -> tuple[int, float]:
    """The delay of `decoded` in samples, and the similarity (0 to 1) of the two at that shift."""
    length = decoded.size + original.size
    spectrum = np.fft.rfft(decoded, length) * np.conj(np.fft.rfft(original, length))
    correlation = np.fft.irfft(spectrum, length)
    at = int(correlation.argmax())
    likeness = float(correlation[at] / np.linalg.norm(decoded) / np.linalg.norm(original))
    return (at if at < length // 2 else at - length), likeness


def strength(samples: Samples, hz: float) -> float:
    """Amplitude of the component of `hz`."""
    t = np.arange(samples.size) / SAMPLE_RATE_HZ
    return float(2 * np.abs(np.mean(samples * np.exp(-2j * np.pi * hz * t))))


def fundamental_hz(samples: Samples, low_hz: float = 80, high_hz: float = 500) -> float:
    """Pitch, by autocorrelation with the peak interpolated."""
    length = 2 * samples.size
    correlation = np.fft.irfft(np.abs(np.fft.rfft(samples, length)) ** 2, length)
    first, last = int(SAMPLE_RATE_HZ / high_hz), int(SAMPLE_RATE_HZ / low_hz)
    at = first + int(correlation[first:last].argmax())
    before, here, after = correlation[at - 1 : at + 2]
    return float(SAMPLE_RATE_HZ / (at + 0.5 * (before - after) / (before - 2 * here + after)))


def record(muxer: str, codec: str, samples: Samples, rate_hz: int, **muxer_options: str) -> bytes:
    """A file as a phone or a browser would upload it. `samples`: [N]."""
    file = io.BytesIO()
    with av.open(file, "w", format=muxer, options=muxer_options) as container:
        stream = container.add_stream(codec, rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.frombuffer(to_pcm(samples), "<i2")[None], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def with_soundfile(
    samples: npt.NDArray[np.generic], rate_hz: int, container: str = "WAV", subtype: str = "PCM_16"
) -> bytes:
    file = io.BytesIO()
    sf.write(file, samples, rate_hz, format=container, subtype=subtype)
    return file.getvalue()
