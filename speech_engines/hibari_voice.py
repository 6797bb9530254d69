"""A voice of the hibari-tts package with word times, from the durations that its model computes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from hibari import Hibari, dsp
from hibari.g2p import normalize
from hibari.voices import voice_path

from speech_engines.base import Samples
from speech_protocol.events import Word

# An internal value of the graph: the length of each phoneme in frames, [ids] float32.
_DURATIONS: Final = "/Clip_output_0"
_FRAME_SAMPLES: Final = 600
# Field numbers of ONNX's protobuf messages: ModelProto.graph, GraphProto.output, ValueInfoProto.name.
_GRAPH, _OUTPUT, _NAME = 7, 12, 1


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word of the text and its phonemes, which may be empty."""

    text: str
    phonemes: str


class TimedVoice(Hibari):  # type: ignore[misc]
    """`speaker`'s model, with the durations of its phonemes as an additional output."""

    def __init__(self, speaker: str) -> None:
        super().__init__(speaker, model=with_output(Path(voice_path(speaker)).read_bytes(), _DURATIONS))

    def words(self, sentence: str) -> list[SpokenWord]:
        """The words of a sentence in order, with punctuation attached to the preceding word. Raises IndexError,
        TypeError or ValueError if the package fails on the sentence."""
        tokens = self.g2p.phonemize_tokens(self.g2p.tokenize(normalize(sentence)))
        words: list[SpokenWord] = []
        text = phonemes = ""
        for token in tokens:
            text, phonemes = text + token.text, phonemes + (token.phonemes or "")
            if token.whitespace:
                words.append(SpokenWord(text, phonemes))
                text = phonemes = ""
        return [*words, SpokenWord(text, phonemes)] if text else words

    def speak(self, words: Sequence[SpokenWord], seed: int | None) -> tuple[Samples, tuple[Word, ...]]:
        """The samples of these words, [T] float32, and the times of the words in them."""
        ids, ends = [0], []
        for word in words:
            # A space separates two words, as in the package's own phonemes.
            spaced = f" {word.phonemes}" if len(ids) > 1 and word.phonemes else word.phonemes
            ids += [self.vocab[phoneme] for phoneme in spaced if phoneme in self.vocab]
            ends.append(len(ids))
        ids.append(0)
        inputs = {"ids": np.asarray([ids], np.int64), "speed": np.ones(1, np.float32)}
        *sound, durations = self.sess.run(None, inputs)
        samples: Samples = dsp.synth(*(part[0] for part in sound), np.random.default_rng(seed))
        return samples, _times(words, ends, durations)


def _times(words: Sequence[SpokenWord], ends: Sequence[int], durations: Any) -> tuple[Word, ...]:
    """Each word lasts from the end of the previous one to its own last phoneme."""
    bounds = np.concatenate(([0], np.cumsum(np.rint(durations).astype(int)))) * _FRAME_SAMPLES
    found, begin = [], 1
    for word, end in zip(words, ends, strict=True):
        if end > begin:
            found.append(Word(word.text, int(bounds[begin]), int(bounds[end])))
        begin = end
    return tuple(found)


def with_output(model: bytes, name: str) -> bytes:
    """An ONNX model with the internal value `name` as an output: protobuf merges an appended message."""
    output = _field(_NAME, name.encode())
    return model + _field(_GRAPH, _field(_OUTPUT, output))


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited field of a protobuf message."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low]) if not rest else bytes([low | 0x80]) + _varint(rest)
