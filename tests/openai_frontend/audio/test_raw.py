"""Raw encodings, compared with another implementation of G.711."""

import audioop

import numpy as np
import pytest

from openai_frontend.audio.raw import raw_format

ALL = np.arange(-32_768, 32_768, dtype="<i2").tobytes()


@pytest.mark.parametrize(("encoding", "reference"), [("pcm_mulaw", "lin2ulaw"), ("pcm_alaw", "lin2alaw")])
def test_every_sample_is_as_g711_has_it(encoding: str, reference: str) -> None:
    encoder = raw_format(encoding, 24_000).new_encoder()
    assert encoder.encode(ALL) + encoder.close() == getattr(audioop, reference)(ALL, 2)


def test_float32_is_the_sample_over_its_range_and_pieces_may_be_cut_anywhere() -> None:
    encoder = raw_format("pcm_f32le", 24_000).new_encoder()
    data = b"".join(encoder.encode(ALL[at : at + 999]) for at in range(0, len(ALL), 999)) + encoder.close()
    assert np.array_equal(np.frombuffer(data, "<f4"), np.frombuffer(ALL, "<i2") / np.float32(32768))


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
def test_a_rate_has_as_many_samples_as_it_says(rate_hz: int) -> None:
    encoder = raw_format("pcm_mulaw", rate_hz).new_encoder()
    second = encoder.encode(bytes(48_000)) + encoder.close()
    assert len(second) == pytest.approx(rate_hz, rel=0.01)


def test_another_encoding_is_refused() -> None:
    with pytest.raises(ValueError, match="pcm_s16le, pcm_f32le, pcm_mulaw, pcm_alaw"):
        raw_format("mp3", 24_000)
