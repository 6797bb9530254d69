"""Finds the times of words in speech: one pass of the model for an utterance."""

import json
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from speech_engines.base import Samples
from speech_engines.forced_aligner.decoder import Decoder
from speech_engines.forced_aligner.encoder import AudioEncoder
from speech_engines.forced_aligner.features import LogMel
from speech_engines.forced_aligner.words import in_order, words_of
from speech_engines.qwen3_tts.model.weights import read_tensors
from speech_engines.qwen3_tts.prompt.tokenizer import TextTokenizer
from speech_protocol.audio import SAMPLE_RATE_HZ
from speech_protocol.events import Word

_PREFIX: Final = "thinker."
_START, _END = "<|audio_start|>", "<|audio_end|>"
_MIN_SAMPLES: Final = SAMPLE_RATE_HZ // 10


class ForcedAligner:
    """A checkpoint of Qwen3-ForcedAligner on a device. One thread at a time."""

    def __init__(self, folder: Path, device: str, dtype: torch.dtype) -> None:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        thinker = config["thinker_config"]
        weights = {name: each.to(dtype) for name, each in read_tensors(folder, _PREFIX, torch.device(device))}
        self._device = device
        self._features = LogMel(thinker["audio_config"]["num_mel_bins"])
        self._encoder = AudioEncoder(thinker["audio_config"], weights)
        self._decoder = Decoder(thinker["text_config"], weights)
        self._tokenizer = TextTokenizer(folder)
        control = self._tokenizer.control_ids
        self._start, self._end, self._audio = control[_START], control[_END], thinker["audio_token_id"]
        self._time, self._ms_per_class = config["timestamp_token_id"], config["timestamp_segment_time"]

    @torch.inference_mode()
    def align(self, samples: Samples, text: str) -> list[Word]:
        """The words of a text in the samples, [T] at 24 kHz, that speak it; times in samples."""
        words = words_of(text)
        if not words:
            return []
        audio = torch.from_numpy(samples)
        audio = torch.nn.functional.pad(audio, (0, max(0, _MIN_SAMPLES - len(audio))))
        heard = self._encoder(self._features(audio).to(self._device))  # [N, H]
        ids = self._ids(len(heard), [word.read for word in words])
        embeds = self._decoder.embed(ids).masked_scatter((ids == self._audio)[:, None], heard)
        classes = self._decoder.classes(embeds, (ids == self._time).nonzero()[:, 0])
        times = in_order([each * self._ms_per_class / 1000 for each in classes.tolist()])
        places = [min(round(time_s * SAMPLE_RATE_HZ), len(samples)) for time_s in times]
        return [Word(word.shown, *places[2 * n : 2 * n + 2]) for n, word in enumerate(words)]

    def gpu_memory_bytes(self) -> int | None:
        """Device memory in use; None on a CPU."""
        return None if self._device == "cpu" else int(torch.cuda.memory_reserved(self._device))

    def _ids(self, rows: int, words: list[str]) -> Tensor:
        """Audio, then each word with a place for its start and one for its end."""
        ids = [self._start, *[self._audio] * rows, self._end]
        for word in words:
            ids += [*self._tokenizer.text_ids(word), self._time, self._time]
        return torch.tensor(ids, device=self._device)
