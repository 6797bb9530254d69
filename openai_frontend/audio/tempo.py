"""Streaming speed change with preserved pitch: FFmpeg's `atempo` (WSOLA) in a PyAV filter graph."""

import math
from fractions import Fraction
from typing import Final, Protocol

import av
from av.filter import Graph

from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ

MIN_SPEED: Final = 0.25
MAX_SPEED: Final = 4.0
_BLOCK_SAMPLES: Final = 480
_BLOCK_BYTES: Final = _BLOCK_SAMPLES * SAMPLE_BYTES
# Silence pushed after the end, for each stage, to flush its overlap windows (1,024 samples at 24 kHz).
_DRAIN_SAMPLES: Final = 8_192


class Tempo(Protocol):
    """PCM in, PCM out (s16le, mono, 24 kHz), for one reply, and for one thread at a time."""

    def process(self, pcm: bytes) -> bytes:
        """Add PCM of any length, even half a sample; return the samples that are ready, if any."""
        ...

    def close(self) -> bytes:
        """Return the rest and free the filter. Afterwards both methods return nothing."""
        ...


def make_tempo(speed: float) -> Tempo:
    """A tempo filter for `speed`; 1.0 changes no byte. Raises ValueError outside 0.25 to 4.0."""
    # "not (low <= speed <= high)" also rejects NaN.
    if not MIN_SPEED <= speed <= MAX_SPEED:
        raise ValueError(f"speed is {speed}; it must be {MIN_SPEED} to {MAX_SPEED}.")
    return SameTempo() if speed == 1.0 else StretchedTempo(speed)


class SameTempo:
    """Speed 1: passes PCM through."""

    def __init__(self) -> None:
        self._closed = False

    def process(self, pcm: bytes) -> bytes:
        return b"" if self._closed else pcm

    def close(self) -> bytes:
        self._closed = True
        return b""


class StretchedTempo:
    """Any other speed. The output has exactly round(input / speed) samples.

    By itself, `atempo` drops short clips and is up to 70 ms off. So silence follows the audio into the filter until all
    of the audio has come out, and the output is cut to its exact length. The filter works on s16 throughout: it adds
    windowed samples and rounds once in each stage, 90 dB below speech, so dithering is unnecessary.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        stages = max(1, math.ceil(abs(math.log2(speed))))
        self._drain_samples = math.ceil(_DRAIN_SAMPLES * stages * max(1.0, speed))
        self._graph: Graph | None = _graph(speed ** (1 / stages), stages)
        self._pending = bytearray()
        self._pushed_samples = 0
        self._ready = bytearray()
        self._returned_bytes = 0

    def process(self, pcm: bytes) -> bytes:
        if self._graph is None:
            return b""
        self._pending += pcm
        self._push_blocks(self._graph)
        # Never ahead of what is due, so that an end at this point is not too late.
        return self._take(self._pushed_samples)

    def close(self) -> bytes:
        if self._graph is None:
            return b""
        graph, self._graph = self._graph, None
        total_samples = self._pushed_samples + len(self._pending) // SAMPLE_BYTES
        if not total_samples:
            return b""
        # A trailing half sample is dropped.
        del self._pending[len(self._pending) // SAMPLE_BYTES * SAMPLE_BYTES :]
        self._pending += bytes(self._drain_samples * SAMPLE_BYTES)
        self._push_blocks(graph)
        return self._take(total_samples)

    def _push_blocks(self, graph: Graph) -> None:
        # The filter returns one frame for each frame, so a long one would be held inside until the next.
        whole = len(self._pending) - len(self._pending) % _BLOCK_BYTES
        for start in range(0, whole, _BLOCK_BYTES):
            self._push(graph, bytes(self._pending[start : start + _BLOCK_BYTES]))
        del self._pending[:whole]

    def _push(self, graph: Graph, pcm: bytes) -> None:
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // SAMPLE_BYTES)
        frame.planes[0].update(pcm)
        frame.sample_rate, frame.time_base = SAMPLE_RATE_HZ, Fraction(1, SAMPLE_RATE_HZ)
        frame.pts = self._pushed_samples
        self._pushed_samples += frame.samples
        graph.push(frame)
        while True:
            try:
                made = graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            assert isinstance(made, av.AudioFrame)
            self._ready += bytes(made.planes[0])[: made.samples * SAMPLE_BYTES]

    def _take(self, input_samples: int) -> bytes:
        due_bytes = round(input_samples / self._speed) * SAMPLE_BYTES - self._returned_bytes
        taken = bytes(self._ready[:due_bytes])
        del self._ready[:due_bytes]
        self._returned_bytes += len(taken)
        return taken


def _graph(stage_speed: float, stages: int) -> Graph:
    # Outside 0.5 to 2 a single stage would skip samples instead of blending them.
    graph = Graph()
    source = graph.add_abuffer(
        sample_rate=SAMPLE_RATE_HZ, format="s16", layout="mono", time_base=Fraction(1, SAMPLE_RATE_HZ)
    )
    filters = [graph.add("atempo", f"{stage_speed:.9f}") for _ in range(stages)]
    graph.link_nodes(source, *filters, graph.add("abuffersink")).configure()
    return graph
