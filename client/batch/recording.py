"""Utterances to one recording: natural pauses, soft edges, even loudness; and where each of them is in it."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from client.batch.plan import Utterance
from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ

with warnings.catch_warnings():
    # pydub warns where there is no ffmpeg; joining needs none.
    warnings.simplefilter("ignore")
    from pydub import AudioSegment
    from pydub.silence import detect_leading_silence

_LOUDNESS_DBFS: Final = -20.0
_PEAK_DBFS: Final = -1.0
# Louder or softer by more than this is how it was meant to be said.
_MAX_GAIN_DB: Final = 6.0
_FADE_MS: Final = 8
# A model's own silence at both ends goes, but for this: the pauses are ours.
_EDGE_MS: Final = 30
_SILENCE_DBFS: Final = -50.0


@dataclass(frozen=True, slots=True)
class Caption:
    """What is said from `begin_s` to `end_s` of a recording."""

    begin_s: float
    end_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Recording:
    """`pcm`: s16le, mono, 24 kHz."""

    pcm: bytes
    captions: tuple[Caption, ...]

    @property
    def length_s(self) -> float:
        return len(self.pcm) / SAMPLE_BYTES / SAMPLE_RATE_HZ


def join(spoken: Iterable[tuple[Utterance, bytes]]) -> Recording:
    """The utterances that have audio, in order, each with its pause behind it but for the last."""
    parts = [(utterance, _dress(pcm)) for utterance, pcm in spoken if pcm]
    pieces: list[bytes] = []
    captions: list[Caption] = []
    samples = 0
    for number, (utterance, segment) in enumerate(parts):
        if number:
            pause = AudioSegment.silent(round(1000 * parts[number - 1][0].pause_s), frame_rate=SAMPLE_RATE_HZ)
            pieces.append(pause.raw_data)
            samples += len(pause.raw_data) // SAMPLE_BYTES
        begin_s = samples / SAMPLE_RATE_HZ
        pieces.append(segment.raw_data)
        samples += len(segment.raw_data) // SAMPLE_BYTES
        captions.append(Caption(begin_s, samples / SAMPLE_RATE_HZ, utterance.text))
    return Recording(b"".join(pieces), tuple(captions))


def _dress(pcm: bytes) -> AudioSegment:
    segment = AudioSegment(pcm, frame_rate=SAMPLE_RATE_HZ, sample_width=SAMPLE_BYTES, channels=1)
    before = max(0, detect_leading_silence(segment, _SILENCE_DBFS) - _EDGE_MS)
    behind = max(0, detect_leading_silence(segment.reverse(), _SILENCE_DBFS) - _EDGE_MS)
    segment = segment[before : max(before + _EDGE_MS, len(segment) - behind)]
    if segment.rms:
        gain_db = max(-_MAX_GAIN_DB, min(_MAX_GAIN_DB, _LOUDNESS_DBFS - segment.dBFS))
        segment = segment.apply_gain(min(gain_db, _PEAK_DBFS - segment.max_dBFS))
    return segment.fade_in(_FADE_MS).fade_out(_FADE_MS)
