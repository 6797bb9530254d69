import io
import struct

import numpy as np
import pytest
import soundfile as sf

from openai_frontend.audio.encoders import PcmEncoder, WavEncoder, wav_bytes
from openai_frontend.audio.formats import FORMATS, AudioFormat
from tests.openai_frontend.audio.signals import (
    CHUNK_BYTES,
    TAIL_HZ,
    best_shift,
    chunks,
    decode,
    packets,
    random_splits,
    strength,
    to_pcm,
    tone,
    utterance,
    voice,
)

ALL = sorted(FORMATS)
CODECS = sorted(name for name, audio_format in FORMATS.items() if audio_format.needs_cpu)
EXACT = ("opus", "ogg", "flac", "wav", "wave", "pcm")


def encode(audio_format: AudioFormat, pieces: list[bytes]) -> bytes:
    encoder = audio_format.new_encoder()
    return b"".join(encoder.encode(piece) for piece in pieces) + encoder.close()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("length_s", [2.0, 3.217, 6.013])
def test_every_format_plays_as_long_as_its_pcm_within_one_percent(name: str, length_s: float) -> None:
    pcm = to_pcm(utterance(length_s))
    decoded = decode(encode(FORMATS[name], chunks(pcm)), name)
    assert decoded.size / 24_000 == pytest.approx(length_s, rel=0.01)


@pytest.mark.parametrize("name", ALL)
def test_a_clip_of_one_second_is_off_by_half_a_codec_frame_at_most(name: str) -> None:
    decoded = decode(encode(FORMATS[name], chunks(to_pcm(utterance(1.0)))), name)
    assert abs(decoded.size - 24_000) <= (0 if name in EXACT else 288)


@pytest.mark.parametrize("name", ALL)
def test_every_format_decodes_to_the_same_sound_at_the_same_place(name: str) -> None:
    original = utterance(3.0)
    shift, likeness = best_shift(decode(encode(FORMATS[name], chunks(to_pcm(original))), name), original)
    assert likeness > 0.99
    assert abs(shift) <= (0 if name in EXACT else 289)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("length_s", [1.0, 2.345, 3.0])
def test_the_last_100_ms_are_there(name: str, length_s: float) -> None:
    original = utterance(length_s)
    decoded = decode(encode(FORMATS[name], chunks(to_pcm(original))), name)
    shift, _ = best_shift(decoded, original)
    tail = decoded[original.size - 2_400 + shift :][:2_400]
    assert tail.size == 2_400
    assert strength(tail[:1_200], TAIL_HZ) == pytest.approx(0.4, rel=0.12)
    assert strength(tail[1_200:], TAIL_HZ) == pytest.approx(0.4, rel=0.12)


@pytest.mark.parametrize("name", ALL)
def test_sound_that_starts_at_once_is_kept_whole(name: str) -> None:
    original = voice(150, 1.0)
    decoded = decode(encode(FORMATS[name], chunks(to_pcm(original))), name)
    late_samples = {"mp3": 1_105, "aac": 512}.get(name, 0)
    start = decoded[late_samples:][:2_400]
    error = np.linalg.norm(
        start - original[:2_400] * (start @ original[:2_400]) / (original[:2_400] @ original[:2_400])
    )
    assert error < 0.15 * np.linalg.norm(start)


@pytest.mark.parametrize("name", ALL)
def test_how_the_pcm_is_split_changes_nothing(name: str) -> None:
    pcm = to_pcm(utterance(1.5))
    whole = encode(FORMATS[name], [pcm])
    for seed in range(3):
        body = encode(FORMATS[name], random_splits(pcm, seed))
        if FORMATS[name].extension in ("opus", "ogg"):
            # A number drawn at random for each Ogg stream is on every page; what the pages carry is the same.
            assert packets(body) == packets(whole)
        else:
            assert body == whole


@pytest.mark.parametrize("name", ALL)
def test_audio_leaves_with_the_second_chunk_of_80_ms(name: str) -> None:
    encoder = FORMATS[name].new_encoder()
    ready = [encoder.encode(chunk) for chunk in chunks(to_pcm(voice(150, 0.4)))]
    encoder.close()
    # More than the headers: Ogg's two pages and the FLAC marker with its metadata are under 300 bytes.
    assert len(ready[0] + ready[1]) > 400
    assert all(ready[2:])


@pytest.mark.parametrize("name", ALL)
def test_close_returns_the_tail_once_and_then_nothing(name: str) -> None:
    encoder = FORMATS[name].new_encoder()
    encoder.encode(to_pcm(voice(150, 0.3)))
    encoder.close()
    assert encoder.close() == b""
    assert encoder.encode(bytes(CHUNK_BYTES)) == b""
    assert encoder.close() == b""


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("pcm", [b"", b"\x01", b"\x00\x40", bytes(1_000)], ids=["none", "half", "one", "quiet"])
def test_next_to_no_audio_is_no_error(name: str, pcm: bytes) -> None:
    encode(FORMATS[name], [pcm])


@pytest.mark.parametrize("name", CODECS)
def test_an_odd_byte_at_the_very_end_is_left_out(name: str) -> None:
    pcm = to_pcm(utterance(1.0))
    assert packets(encode(FORMATS[name], [pcm, b"\x7f"])) == packets(encode(FORMATS[name], [pcm]))


def test_two_mp3_bodies_joined_are_one_mp3_of_both() -> None:
    first, second = utterance(1.4), utterance(2.1)
    bodies = [encode(FORMATS["mp3"], chunks(to_pcm(samples))) for samples in (first, second)]
    decoded = decode(b"".join(bodies), "mp3")
    assert decoded.size == sum(decode(body, "mp3").size for body in bodies)
    assert decoded.size == pytest.approx(first.size + second.size, rel=0.01)
    assert best_shift(decoded[: first.size], first)[1] > 0.99
    assert best_shift(decoded[first.size :], second)[1] > 0.99


def test_mp3_is_frames_of_one_size_with_neither_tag_nor_index() -> None:
    body = encode(FORMATS["mp3"], chunks(to_pcm(utterance(2.0))))
    for tag in (b"ID3", b"TAG", b"Xing", b"Info", b"VBRI"):
        assert tag not in body
    assert len(body) % 384 == 0
    assert {body[start : start + 2] for start in range(0, len(body), 384)} == {b"\xff\xf3"}


def test_mp3_can_be_cut_at_any_frame() -> None:
    frames = packets(encode(FORMATS["mp3"], chunks(to_pcm(voice(150, 2.0)))))
    decoded = decode(b"".join(frames[20:60]), "mp3")
    assert strength(decoded[2_000:12_000], 150) > 0.2


def test_ogg_opus_says_its_pre_skip_and_has_a_page_for_each_packet() -> None:
    body = encode(FORMATS["opus"], chunks(to_pcm(utterance(1.0))))
    head = body.index(b"OpusHead")
    assert struct.unpack_from("<BBHI", body, head + 8) == (1, 1, 312, 48_000)
    assert body.count(b"OggS") >= 50


def test_flac_is_lossless_and_has_no_padding() -> None:
    pcm = to_pcm(utterance(1.0))
    body = encode(FORMATS["flac"], chunks(pcm))
    assert np.rint(decode(body, "flac") * 32_768).astype("<i2").tobytes() == pcm
    assert bytes(200) not in body[:400]


def test_the_wav_header_is_exact_and_in_the_first_chunk() -> None:
    encoder = WavEncoder()
    first = encoder.encode(b"\x01\x02\x03")
    assert first == b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 24_000, 48_000, 2, 16) + (
        b"data\xff\xff\xff\xff\x01\x02"
    )
    assert encoder.encode(b"\x04") == b"\x03\x04"
    assert encoder.close() == b""


def test_a_wav_without_audio_is_its_header() -> None:
    encoder = WavEncoder()
    assert encoder.encode(b"") == b""
    assert len(encoder.close()) == 44


def test_a_wav_that_is_held_back_is_complete_up_to_its_limit_and_streams_beyond() -> None:
    pcm = to_pcm(tone(440, 1.0))
    encoder = WavEncoder(whole_seconds=1.0)
    assert b"".join(encoder.encode(pcm[start : start + 999]) for start in range(0, len(pcm), 999)) == b""
    assert encoder.close() == wav_bytes(pcm)
    encoder = WavEncoder(whole_seconds=1.0)
    first = encoder.encode(pcm + b"\x01\x02")
    assert first == WavEncoder().encode(pcm + b"\x01\x02")
    assert encoder.encode(b"\x03\x04") + encoder.close() == b"\x03\x04"


def test_wav_bytes_says_its_true_sizes() -> None:
    pcm = to_pcm(tone(440, 0.5))
    body = wav_bytes(pcm)
    assert struct.unpack_from("<I", body, 4) == (len(body) - 8,)
    assert struct.unpack_from("<I", body, 40) == (len(pcm),)
    samples, rate_hz = sf.read(io.BytesIO(body), dtype="int16")
    assert (samples.astype("<i2").tobytes(), rate_hz) == (pcm, 24_000)


def test_pcm_is_never_cut_inside_a_sample() -> None:
    pcm = to_pcm(utterance(1.0))
    encoder = PcmEncoder()
    ready = [encoder.encode(piece) for piece in random_splits(pcm, 5)]
    assert all(len(piece) % 2 == 0 for piece in ready)
    assert b"".join(ready) + encoder.close() == pcm
