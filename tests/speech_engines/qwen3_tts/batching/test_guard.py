"""Runaways and normal speech: synthetic sequences of codes with matching sound."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from speech_engines.base import Samples
from speech_engines.qwen3_tts.batching.guard import FRAMES_PER_SECOND, RunawayGuard, asks_for_a_pause, budget_frames
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from speech_protocol.events import FinishReason

RAMP = (1, 2, 4, 8, 12)
LIMIT_S = 4.0
TOKENS = 50
Codes = npt.NDArray[np.int64]  # [F, 16]


@dataclass(frozen=True)
class Part:
    """Some frames: codes [F, 16] and samples [F * 1920]."""

    codes: Codes
    samples: Samples

    @property
    def seconds(self) -> float:
        return len(self.codes) / FRAMES_PER_SECOND


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def speech(seconds: float, level: float = 0.1, seed: int = 0) -> Part:
    """Syllables of a voice: four a second, some loud and some soft, each with codes of its own."""
    draw, frames = generator(seed), int(seconds * FRAMES_PER_SECOND)
    time_s = np.arange(frames * FRAME_SAMPLES) / SAMPLE_RATE_HZ
    pitch_hz = 120 + 30 * np.sin(2 * np.pi * 0.7 * time_s + seed)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    voice = sum(np.sin(n * phase) / n for n in range(1, 20))
    loudness = 0.1 + 0.9 * np.abs(np.sin(2 * np.pi * 2 * time_s)) * draw.uniform(0.3, 1, frames).repeat(FRAME_SAMPLES)
    return Part(draw.integers(0, 2048, (frames, 16)), (level * loudness * voice / 3).astype(np.float32))


def tone(seconds: float, level: float = 0.1) -> Samples:
    time_s = np.arange(int(seconds * FRAMES_PER_SECOND) * FRAME_SAMPLES) / SAMPLE_RATE_HZ
    return (level * sum(np.sin(2 * np.pi * 140 * n * time_s) / n for n in range(1, 20)) / 3).astype(np.float32)


def hiss(seconds: float, level_db: float, seed: int = 0) -> Part:
    """Noise of one level; its codes wander, as a model's do."""
    frames = int(seconds * FRAMES_PER_SECOND)
    noise = generator(seed).normal(0, 10 ** (level_db / 20), frames * FRAME_SAMPLES).astype(np.float32)
    return Part(generator(seed).integers(0, 2048, (frames, 16)), noise)


def silence(seconds: float) -> Part:
    """One frame of codes over and over, as a pause has it."""
    frames = int(seconds * FRAMES_PER_SECOND)
    return Part(np.full((frames, 16), 7), np.zeros(frames * FRAME_SAMPLES, np.float32))


def loop(period: int, seconds: float = 20, changed_codes: int = 1) -> Part:
    """A piece of speech over and over, of which some codes in each frame are drawn anew."""
    draw, frames = generator(period), int(seconds * FRAMES_PER_SECOND)
    piece = speech(period / FRAMES_PER_SECOND + 0.01, seed=period)
    codes = np.resize(piece.codes, (frames, 16)).copy()
    for frame in codes:
        frame[draw.choice(16, changed_codes, replace=False)] = draw.integers(0, 2048, changed_codes)
    return Part(codes, np.resize(piece.samples, frames * FRAME_SAMPLES))


def laughter(seconds: float = 6) -> Part:
    """Bursts of noise and voice, four a second: alike in their first codes, not in the others."""
    spoken = speech(seconds, seed=3)
    noise = generator(4).normal(0, 0.05, len(spoken.samples)).astype(np.float32)
    time_s = np.arange(len(noise)) / SAMPLE_RATE_HZ
    bursts = np.clip(np.sin(2 * np.pi * 4 * time_s), 0, 1).astype(np.float32)
    codes = spoken.codes.copy()
    codes[:, :3] = np.resize(codes[:3, :3], (len(codes), 3))
    return Part(codes, (spoken.samples + noise) * bursts)


def no_no_no(seconds: float = 6, period: int = 5) -> Part:
    """One repeated word: the first codes repeat, the others differ in each rendition."""
    spoken = speech(seconds, seed=5)
    codes = spoken.codes.copy()
    codes[:, :6] = np.resize(codes[:period, :6], (len(codes), 6))
    return Part(codes, spoken.samples)


def held_vowel(seconds: float = 6) -> Part:
    """One sound of one loudness: a few codes stay, the others wander."""
    frames = int(seconds * FRAMES_PER_SECOND)
    codes = generator(6).integers(0, 2048, (frames, 16))
    codes[:, :5] = codes[0, :5]
    breath = generator(7).normal(0, 0.003, frames * FRAME_SAMPLES).astype(np.float32)
    return Part(codes, tone(seconds) + breath)


def watch(guard: RunawayGuard, *parts: Part) -> tuple[FinishReason | None, float]:
    """The reason, and the seconds that were heard: chunk by chunk, as the engine does it."""
    codes = np.concatenate([part.codes for part in parts])
    samples = np.concatenate([part.samples for part in parts])
    for first, last in chunks(len(codes)):
        for frame in codes[first:last].tolist():
            if reason := guard.after_frame(frame):
                return reason, last / FRAMES_PER_SECOND
        if reason := guard.after_audio(samples[first * FRAME_SAMPLES : last * FRAME_SAMPLES]):
            return reason, last / FRAMES_PER_SECOND
    return None, len(codes) / FRAMES_PER_SECOND


def chunks(frames: int) -> Iterator[tuple[int, int]]:
    first, number = 0, 0
    while first < frames:
        last = min(frames, first + RAMP[min(number, len(RAMP) - 1)])
        yield first, last
        first, number = last, number + 1


RUNAWAYS: dict[str, tuple[Callable[..., Part], tuple[Any, ...]]] = {
    **{f"loop of {period}": (loop, (period,)) for period in range(1, 13)},
    "loop of 8, blurred": (loop, (8, 20, 2)),
    **{f"hiss at {level} dBFS": (hiss, (20, level)) for level in (-10, -30, -54, -80)},
    "silence": (silence, (20,)),
}


@pytest.mark.parametrize("before_s", [0.0, 0.5, 3.0, 7.3])
@pytest.mark.parametrize("case", RUNAWAYS)
def test_what_ran_away_is_cut_within_four_seconds(case: str, before_s: float) -> None:
    make, arguments = RUNAWAYS[case]
    parts = [speech(before_s)] if before_s else []
    reason, heard_s = watch(RunawayGuard(TOKENS), *parts, make(*arguments))
    assert reason is (FinishReason.REPETITION if "loop" in case else FinishReason.SILENCE)
    assert heard_s <= sum(part.seconds for part in parts) + LIMIT_S


@pytest.mark.parametrize("level_db", [-20, -45, -55])
def test_silence_is_relative_to_the_utterances_own_loudness(level_db: float) -> None:
    loud = speech(3, level=10 ** (level_db / 20) * 4)
    reason, heard_s = watch(RunawayGuard(TOKENS), loud, hiss(10, max(level_db - 45, -100)))
    assert reason is FinishReason.SILENCE
    assert heard_s <= loud.seconds + LIMIT_S
    assert watch(RunawayGuard(TOKENS), speech(8, level=10 ** (level_db / 20) * 4))[0] is None


TRUE: dict[str, Callable[[], tuple[Part, ...]]] = {
    "speech": lambda: (speech(20),),
    "soft speech": lambda: (speech(20, level=0.01),),
    "laughter": lambda: (speech(1), laughter(), speech(1)),
    "no no no no": lambda: (no_no_no(),),
    "a held vowel": lambda: (speech(1), held_vowel(), speech(1)),
    "pauses of two seconds": lambda: (speech(1), silence(2), speech(1), silence(2), speech(1)),
    "a loud word, then soft ones": lambda: (speech(1, level=0.5), speech(6, level=0.02)),
}


@pytest.mark.parametrize("case", TRUE)
def test_what_is_meant_is_not_cut(case: str) -> None:
    assert watch(RunawayGuard(TOKENS), *TRUE[case]())[0] is None


@pytest.mark.parametrize(
    "text",
    [
        "Count to three, with a pause of ten seconds.", "Bitte eine lange Pause.", "停顿十秒钟。",
        "Пауза десять секунд.", "She waits for ten seconds.", "Fall silent.", "Well ........ no.",
    ],
)  # fmt: skip
def test_a_requested_pause_may_last_ten_seconds_but_not_forever(text: str) -> None:
    assert asks_for_a_pause(None, text)
    pause = (speech(2), silence(10), speech(2))
    assert watch(RunawayGuard(TOKENS, may_pause=True), *pause)[0] is None
    assert watch(RunawayGuard(TOKENS), *pause)[0] is FinishReason.SILENCE
    assert watch(RunawayGuard(TOKENS, may_pause=True), speech(2), silence(20))[0] is FinishReason.SILENCE


@pytest.mark.parametrize("text", ["Wait, what?", "Hello... you.", "Wir warten.", "", "这段时间很好。"])
def test_other_texts_ask_for_none(text: str) -> None:
    assert not asks_for_a_pause(text, None)


def test_an_utterance_ends_when_it_has_more_frames_than_its_text_can_need() -> None:
    reason, heard_s = watch(RunawayGuard(2), speech(30))
    assert reason is FinishReason.BUDGET
    assert heard_s <= budget_frames(2) / FRAMES_PER_SECOND + 1


def test_a_guard_that_does_not_listen_counts_frames_all_the_same() -> None:
    assert watch(RunawayGuard(TOKENS, listens=False), loop(3), hiss(10, -30))[0] is None
    assert watch(RunawayGuard(2, listens=False), hiss(30, -30))[0] is FinishReason.BUDGET
