"""Downmix of a recording to mono: without a DC offset, and without channels that cancel each other."""

from typing import Final

import numpy as np

from openai_frontend.audio.uploads.recording import Recording, Samples

# A mean beyond this (-60 dBFS) is a DC offset of the hardware.
MAX_OFFSET: Final = 1e-3
# Two channels of unrelated sound mix to half the power of one, a channel and a silent one to a quarter.
_CANCELLED: Final = 0.2
# Samples a second that suffice to estimate the power of a channel.
_SAMPLED_HZ: Final = 8_000


def mono(recording: Recording) -> Samples:
    """[N]: the mean of the channels, or the loudest channel alone if they cancel each other."""
    channel = _strongest_where_the_mean_is_lost(recording)
    mixed: Samples
    if channel is None:
        mixed = np.concatenate([block.mean(axis=0, dtype=np.float32) for block in recording.blocks])
    else:
        mixed = np.concatenate([block[channel] for block in recording.blocks])
    offset = float(mixed.mean(dtype=np.float64))
    if abs(offset) > MAX_OFFSET:
        mixed -= np.float32(offset)
    return mixed


def _strongest_where_the_mean_is_lost(recording: Recording) -> int | None:
    if recording.blocks[0].shape[0] == 1:
        return None
    step = max(1, recording.sample_rate_hz // _SAMPLED_HZ)
    channels = np.concatenate([block[:, ::step] for block in recording.blocks], axis=1).astype(np.float64)
    powers = channels.var(axis=1)
    strongest = int(powers.argmax())
    return strongest if channels.mean(axis=0).var() < _CANCELLED * powers[strongest] else None
