"""Whisper's log-mel spectrogram, the input of the audio encoder."""

from typing import Final

import torch
from torch import Tensor
from torchaudio.functional import melscale_fbanks, resample

from speech_protocol.audio import SAMPLE_RATE_HZ

RATE_HZ: Final = 16_000
_FFT: Final = 400
_HOP: Final = 160
_SMALLEST: Final = 1e-10
_RANGE: Final = 8.0  # decades below the loudest bin


class LogMel:
    """Samples [T] at 24 kHz, -1 to 1 -> [bins, T * 2/3 // 160]."""

    def __init__(self, bins: int) -> None:
        nyquist_hz = RATE_HZ / 2
        self._filters = melscale_fbanks(_FFT // 2 + 1, 0.0, nyquist_hz, bins, RATE_HZ, "slaney", "slaney").T
        self._window = torch.hann_window(_FFT)

    def __call__(self, samples: Tensor) -> Tensor:
        samples = resample(samples, SAMPLE_RATE_HZ, RATE_HZ)
        spectrum = torch.stft(samples, _FFT, _HOP, window=self._window, return_complex=True)
        power = spectrum[:, :-1].abs().square()
        log = (self._filters @ power).clamp_min(_SMALLEST).log10()
        return (torch.maximum(log, log.max() - _RANGE) + 4) / 4
