"""Reference recordings: trimmed, normalised in loudness, and rejected if the voice is destroyed."""

import numpy as np
import pytest

from openai_frontend.audio.uploads.reference import ReferenceAudioError, clean_reference
from tests.openai_frontend.audio.signals import Samples, decode, from_pcm, strength, tone, voice, with_soundfile
from tests.openai_frontend.audio.uploads.test_reference import from_our_own


def cleaned(samples: Samples, rate_hz: int = 24_000) -> Samples:
    return from_pcm(clean_reference(with_soundfile(samples, rate_hz)))


def rms_db(samples: Samples) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(np.square(samples)))))


def speech(length_s: float, level: float = 1.0) -> Samples:
    """A vowel with a pause in its middle: two thirds of the time there is speech."""
    third = round(length_s / 3 * 24_000)
    spoken = voice(150, length_s)
    spoken[third : 2 * third] = 0
    return level * spoken


def test_silence_goes_from_both_ends_and_stays_inside() -> None:
    quiet = np.random.default_rng(0).normal(0, 1e-4, 3 * 24_000)
    spoken = speech(3.0)
    samples = cleaned(np.concatenate([quiet, spoken, quiet]))
    # A tenth of a second of room is left on each side.
    assert samples.size / 24_000 == pytest.approx(3.2, abs=0.04)
    assert not samples[:1_200].any() or rms_db(samples[:1_200]) < -50
    assert strength(samples[4_800:20_000], 150) > 10 * strength(samples[30_000:50_000], 150)


def test_a_recording_without_silence_keeps_its_length() -> None:
    assert cleaned(voice(150, 2.0)).size == 48_000


@pytest.mark.parametrize("level", [0.01, 0.1, 1.0])
def test_every_reference_is_as_loud_as_any_other_however_long_its_pauses(level: float) -> None:
    samples = cleaned(np.concatenate([speech(3.0, level), np.zeros(24_000), speech(3.0, level)]))
    assert rms_db(samples[2_400:20_000]) == pytest.approx(-20, abs=0.5)


def test_a_peaky_recording_stays_below_full_scale_between_the_samples_too() -> None:
    samples = 0.01 * tone(300, 2.0)
    # A tone of a quarter of the rate whose samples miss its peaks: 3 dB higher between them.
    samples[20_000:20_400] = 0.65 * np.sin(np.pi / 2 * np.arange(400) + np.pi / 4)
    result = cleaned(samples)
    assert np.abs(result).max() < 10 ** (-3.5 / 20)
    assert np.abs(decode(from_our_own("wav", result), "wav")).max() < 1


def test_the_shape_of_the_sound_is_kept() -> None:
    loud = voice(150, 2.0)
    result = cleaned(loud)
    ratio = result[5_000:40_000] @ loud[5_000:40_000] / (loud[5_000:40_000] @ loud[5_000:40_000])
    assert np.abs(result - ratio * loud).max() < 1e-3


def test_a_recording_clipped_to_nothing_is_refused_and_a_little_clipping_is_not() -> None:
    with pytest.raises(ReferenceAudioError, match="clipped so hard"):
        cleaned(np.clip(100 * voice(150, 2.0), -1, 1))
    assert cleaned(np.clip(2 * voice(150, 2.0), -0.9, 0.9)).size
    assert cleaned(tone(300, 2.0)).size


def test_a_click_in_silence_is_not_a_voice() -> None:
    samples = np.zeros(3 * 24_000)
    samples[30_000:30_600] = tone(400, 0.025)
    with pytest.raises(ReferenceAudioError, match=r"0\.2\d s of sound"):
        cleaned(samples)


def test_a_low_rate_recording_is_resampled_first() -> None:
    samples = cleaned(tone(300, 2.0, 8_000), 8_000)
    assert samples.size == 48_000
    assert rms_db(samples[4_800:40_000]) == pytest.approx(-20, abs=0.5)
