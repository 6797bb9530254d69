import math

import numpy as np
import pytest

from openai_frontend.audio.tempo import make_tempo
from tests.openai_frontend.audio.signals import (
    TAIL_HZ,
    chunks,
    from_pcm,
    fundamental_hz,
    random_splits,
    strength,
    to_pcm,
    utterance,
    voice,
)

SPEEDS = [0.25, 0.5, 0.8, 1.0, 1.1, 1.5, 2.0, 3.0, 4.0]


def change(pieces: list[bytes], speed: float) -> bytes:
    tempo = make_tempo(speed)
    return b"".join(tempo.process(piece) for piece in pieces) + tempo.close()


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("samples", [1, 7, 479, 480, 481, 1_000, 2_400, 12_001, 50_001])
def test_the_output_is_as_long_as_the_input_over_the_speed(samples: int, speed: float) -> None:
    assert len(change(chunks(bytes(2 * samples)), speed)) == 2 * round(samples / speed)


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("hz", [100, 180, 260])
def test_the_pitch_stays(hz: float, speed: float) -> None:
    samples = from_pcm(change(chunks(to_pcm(voice(hz, 2.0))), speed))
    assert fundamental_hz(samples) == pytest.approx(hz, rel=0.03)


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_loudness_stays(speed: float) -> None:
    original = voice(150, 1.0)
    samples = from_pcm(change(chunks(to_pcm(original)), speed))
    assert np.std(samples) == pytest.approx(np.std(original), rel=0.1)


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_last_100_ms_are_there(speed: float) -> None:
    samples = from_pcm(change(chunks(to_pcm(utterance(2.0))), speed))
    tail = samples[-round(2_000 / speed) :]
    assert strength(tail[: tail.size // 2], TAIL_HZ) > 0.25
    assert strength(tail[tail.size // 2 :], TAIL_HZ) > 0.25


@pytest.mark.parametrize("speed", SPEEDS)
def test_what_comes_when_is_stretched_evenly(speed: float) -> None:
    gap = np.zeros(12_000)
    samples = from_pcm(change(chunks(to_pcm(np.concatenate([voice(150, 0.5), gap, voice(150, 0.5), gap]))), speed))
    # The middle of each quarter: an overlap window may bring an edge forward by some 25 ms.
    loudness = [np.std(part[part.size // 4 : -part.size // 4]) for part in np.array_split(samples, 4)]
    assert min(loudness[0], loudness[2]) > 100 * max(loudness[1], loudness[3])


@pytest.mark.parametrize("speed", SPEEDS)
def test_how_the_pcm_is_split_changes_nothing(speed: float) -> None:
    pcm = to_pcm(utterance(1.0))
    assert change(random_splits(pcm, 1), speed) == change([pcm], speed) == change(random_splits(pcm, 2), speed)


@pytest.mark.parametrize("speed", [0.25, 0.5, 1.5, 2.0, 4.0])
def test_it_streams(speed: float) -> None:
    tempo = make_tempo(speed)
    made_bytes = 0
    for count, chunk in enumerate(chunks(bytes(48_000)), start=1):
        made_bytes += len(tempo.process(chunk))
        held_back_s = count * 0.08 - made_bytes / 48_000 * speed
        assert 0 <= held_back_s + 1e-9 <= 0.32
    tempo.close()


def test_speed_1_changes_no_byte() -> None:
    tempo = make_tempo(1.0)
    assert [tempo.process(piece) for piece in (b"\x01\x02\x03", b"", b"\x04")] == [b"\x01\x02\x03", b"", b"\x04"]
    assert tempo.close() == b""


@pytest.mark.parametrize("speed", SPEEDS)
def test_close_returns_the_tail_once_and_then_nothing(speed: float) -> None:
    tempo = make_tempo(speed)
    tempo.process(bytes(9_000))
    tempo.close()
    assert (tempo.close(), tempo.process(bytes(9_000)), tempo.close()) == (b"", b"", b"")


@pytest.mark.parametrize("speed", SPEEDS)
def test_no_audio_is_no_error(speed: float) -> None:
    assert change([], speed) == b""
    assert change([b""], speed) == b""


@pytest.mark.parametrize("speed", [0.0, 0.2499, 4.001, -1.0, math.nan, math.inf])
def test_a_speed_out_of_range_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match=r"it must be 0\.25 to 4\.0"):
        make_tempo(speed)
