"""Joins utterances into one audio file with chapters and pauses, and writes the text files beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from speech_protocol.audio import SAMPLE_RATE_HZ

from .captions import Sidecar
from .encoding import AudioWriter
from .mp4 import Mark
from .recording import Samples, dress, silence
from .store import Speech
from .voices import Job
from .words import TimedText, match_words

CHAPTER_PAUSE_S: Final = 1.5


@dataclass(frozen=True, slots=True)
class Clip:
    """The position of an utterance in a recording; `block` is that of its item."""

    begin_s: float
    end_s: float
    text: str
    block: int


class Recorder:
    """One audio file, and the text files beside it."""

    def __init__(self, audio: AudioWriter, sidecars: Sequence[Sidecar]) -> None:
        self._audio, self._sidecars = audio, sidecars
        self._samples = 0
        self._pause_s = 0.0  # before the next utterance
        self.marks: list[Mark] = []
        self.clips: list[list[Clip]] = []

    @property
    def length_s(self) -> float:
        """The length of the audio so far, in seconds."""
        return self._samples / SAMPLE_RATE_HZ

    def begin_chapter(self, title: str) -> None:
        """Start a chapter at the current position."""
        if self.marks:
            self._write(silence(CHAPTER_PAUSE_S))
            self._end_chapter()
        self._pause_s = 0.0
        self.marks.append(Mark(title, self.length_s, self.length_s))
        self.clips.append([])

    def add(self, job: Job, speech: Speech) -> None:
        """Append the next utterance, after the previous one's pause."""
        if not speech.pcm:
            return
        utterance = job.utterance
        self._write(silence(self._pause_s + utterance.lead_s))
        begin = self._samples
        samples, trimmed = dress(speech.pcm)
        self._write(samples)
        self._pause_s = utterance.pause_s
        whole = TimedText(utterance.text, begin / SAMPLE_RATE_HZ, self.length_s)
        words = [
            TimedText(each.text, self._seconds(begin, each.start - trimmed), self._seconds(begin, each.end - trimmed))
            for each in (match_words(utterance.text, speech.words) if speech.words else ())
        ]
        self.clips[-1].append(Clip(whole.begin_s, whole.end_s, utterance.text, utterance.block))
        for sidecar in self._sidecars:
            sidecar.write(whole, words)

    def finish(self) -> None:
        """Complete the files."""
        self._end_chapter()
        self._audio.finish(self.marks)
        for sidecar in self._sidecars:
            sidecar.finish()

    def abort(self) -> None:
        """Remove the incomplete files."""
        self._audio.abort()
        for sidecar in self._sidecars:
            sidecar.abort()

    def _end_chapter(self) -> None:
        last = self.marks[-1]
        self.marks[-1] = Mark(last.title, last.begin_s, self.length_s)

    def _write(self, samples: Samples) -> None:
        self._audio.write(samples)
        self._samples += len(samples)

    def _seconds(self, begin: int, sample: int) -> float:
        """The time of a sample of the utterance that was written last, which begins at sample `begin`."""
        return min(max(begin, begin + sample), self._samples) / SAMPLE_RATE_HZ
