import contextlib
import io
import struct
import time
import tracemalloc
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf

from openai_frontend.audio.formats import FORMATS
from openai_frontend.audio.uploads.reference import ReferenceAudioError, decode_reference
from speech_protocol.errors import ErrorCode, SpeechError
from tests.openai_frontend.audio.signals import (
    Samples,
    from_pcm,
    fundamental_hz,
    record,
    strength,
    to_pcm,
    tone,
    voice,
    with_soundfile,
)


def from_our_own(name: str, samples: Samples) -> bytes:
    encoder = FORMATS[name].new_encoder()
    return encoder.encode(to_pcm(samples)) + encoder.close()


def without_first_atom(data: bytes) -> bytes:
    """An MP4 or QuickTime file whose `ftyp` is renamed, so that nothing that its tables point to moves."""
    assert data[4:8] == b"ftyp"
    return data[:4] + b"free" + data[8:]


A_TONE = tone(440, 2.0)
UPLOADS: dict[str, Callable[[], bytes]] = {
    "wav": lambda: with_soundfile(A_TONE, 24_000),
    "wav 24 bit": lambda: with_soundfile(A_TONE, 24_000, subtype="PCM_24"),
    "wav float": lambda: with_soundfile(A_TONE, 24_000, subtype="FLOAT"),
    "wav 8 bit": lambda: with_soundfile(A_TONE, 24_000, subtype="PCM_U8"),
    "wav mu-law 8 kHz": lambda: with_soundfile(tone(440, 2.0, 8_000), 8_000, subtype="ULAW"),
    "wav 44.1 kHz": lambda: with_soundfile(tone(440, 2.0, 44_100), 44_100),
    "flac 48 kHz": lambda: with_soundfile(tone(440, 2.0, 48_000), 48_000, "FLAC", "PCM_24"),
    "flac 96 kHz": lambda: with_soundfile(tone(440, 2.0, 96_000), 96_000, "FLAC", "PCM_24"),
    "ogg vorbis": lambda: with_soundfile(tone(440, 2.0, 44_100), 44_100, "OGG", "VORBIS"),
    "ogg opus": lambda: with_soundfile(tone(440, 2.0, 48_000), 48_000, "OGG", "OPUS"),
    "mp3": lambda: record("mp3", "libmp3lame", tone(440, 2.0, 44_100), 44_100),
    "aac": lambda: record("adts", "aac", tone(440, 2.0, 44_100), 44_100),
    "m4a": lambda: record("ipod", "aac", tone(440, 2.0, 44_100), 44_100),
    "mp4": lambda: record("mp4", "aac", tone(440, 2.0, 48_000), 48_000),
    "mp4 in fragments": lambda: record(
        "mp4", "aac", tone(440, 2.0, 48_000), 48_000, movflags="frag_keyframe+empty_moov"
    ),
    "mov": lambda: record("mov", "pcm_s16le", tone(440, 2.0, 48_000), 48_000),
    **{
        f"mov {codec}": partial(record, "mov", codec, tone(440, 2.0, 48_000), 48_000)
        for codec in ("pcm_s16be", "pcm_s24be", "pcm_s32be", "pcm_f32be", "pcm_u8", "pcm_mulaw", "pcm_alaw", "alac")
    },
    "mov ima": lambda: record("mov", "adpcm_ima_qt", tone(440, 2.0, 44_100), 44_100),
    "mov without ftyp": lambda: without_first_atom(record("mov", "pcm_s16be", tone(440, 2.0, 48_000), 48_000)),
    "m4a without ftyp": lambda: without_first_atom(record("ipod", "aac", tone(440, 2.0, 44_100), 44_100)),
    "alac": lambda: record("ipod", "alac", tone(440, 2.0, 44_100), 44_100),
    "aiff": lambda: with_soundfile(tone(440, 2.0, 44_100), 44_100, "AIFF", "PCM_16"),
    "aiff 24 bit": lambda: with_soundfile(tone(440, 2.0, 48_000), 48_000, "AIFF", "PCM_24"),
    "aifc": lambda: record("aiff", "pcm_s16le", tone(440, 2.0, 44_100), 44_100),
    "caf": lambda: with_soundfile(tone(440, 2.0, 48_000), 48_000, "CAF", "PCM_16"),
    "caf alac": lambda: with_soundfile(tone(440, 2.0, 48_000), 48_000, "CAF", "ALAC_16"),
    "caf ima": lambda: record("caf", "adpcm_ima_qt", tone(440, 2.0, 44_100), 44_100),
    "3gp": lambda: record("3gp", "aac", tone(440, 2.0, 44_100), 44_100),
    "wav ima": lambda: with_soundfile(tone(440, 2.0, 44_100), 44_100, subtype="IMA_ADPCM"),
    "webm pcm": lambda: record("matroska", "pcm_f32le", tone(440, 2.0, 48_000), 48_000),
    "webm": lambda: record("webm", "libopus", tone(440, 2.0, 48_000), 48_000),
    "mkv": lambda: record("matroska", "flac", tone(440, 2.0, 48_000), 48_000),
    **{f"our own {name}": partial(from_our_own, name, A_TONE) for name in FORMATS if name != "pcm"},
}


@cache
def upload(name: str) -> bytes:
    return UPLOADS[name]()


@pytest.mark.parametrize("name", sorted(UPLOADS))
def test_a_recording_of_any_usual_kind_becomes_24_khz_pcm(name: str) -> None:
    samples = from_pcm(decode_reference(upload(name)))
    # AAC and MP3 that cannot say so carry up to 65 ms of padding.
    assert 47_990 <= samples.size <= 48_000 + 1_600
    assert fundamental_hz(samples[6_000:42_000]) == pytest.approx(440, rel=0.002)
    assert strength(samples[6_000:42_000], 440) == pytest.approx(0.4, rel=0.07)


def test_pcm_at_24_khz_comes_back_bit_for_bit() -> None:
    pcm = to_pcm(voice(150, 1.5))
    assert decode_reference(from_our_own("wav", from_pcm(pcm) * 32_768 / 32_767)) == pcm
    assert decode_reference(from_our_own("flac", from_pcm(pcm) * 32_768 / 32_767)) == pcm


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000])
def test_the_length_is_exact_at_every_rate(rate_hz: int) -> None:
    pcm = decode_reference(with_soundfile(tone(440, 2.0, rate_hz), rate_hz))
    assert len(pcm) == 2 * 48_000


def test_channels_are_mixed() -> None:
    stereo = np.stack([tone(300, 2.0, 44_100), tone(700, 2.0, 44_100)], axis=1)
    samples = from_pcm(decode_reference(with_soundfile(stereo, 44_100)))[4_000:44_000]
    assert strength(samples, 300) == pytest.approx(0.2, rel=0.03)
    assert strength(samples, 700) == pytest.approx(0.2, rel=0.03)


@pytest.mark.parametrize("factor", [-1.0, -0.98, 0.0])
def test_a_channel_that_cancels_another_or_is_silent_is_left_out(factor: float) -> None:
    left = tone(440, 2.0, 44_100)
    samples = from_pcm(decode_reference(with_soundfile(np.stack([left, factor * left], axis=1), 44_100)))
    assert strength(samples[4_000:44_000], 440) >= 0.19
    four = np.stack([left, -left, left, -left], axis=1)
    assert strength(from_pcm(decode_reference(with_soundfile(four, 44_100)))[4_000:44_000], 440) > 0.38


@pytest.mark.parametrize("offset", [0.02, -0.1, 0.5])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_offset_is_taken_away_first(offset: float, channels: int) -> None:
    clean, shifted = tone(440, 2.0, 44_100), 0.4 * tone(440, 2.0, 44_100) + offset
    stereo = np.stack([shifted, clean] if channels == 2 else [shifted], axis=1)
    samples = from_pcm(decode_reference(with_soundfile(stereo, 44_100)))
    assert abs(samples.mean()) < 1e-3
    assert np.abs(samples[4_000:44_000]).max() < 0.42
    with pytest.raises(ReferenceAudioError, match="silent"):
        decode_reference(with_soundfile(np.full(88_200, offset), 44_100))


def test_an_offset_that_begins_midway_is_taken_away_too() -> None:
    samples = tone(440, 6.0)
    samples[72_000:] += 0.3
    decoded = from_pcm(decode_reference(with_soundfile(samples, 24_000)))
    for second in (0, 1, 4, 5):
        assert abs(decoded[second * 24_000 :][:24_000].mean()) < 2e-3
    assert strength(decoded[100_000:140_000], 440) == pytest.approx(0.4, rel=0.02)


@pytest.mark.parametrize("header", [b"#!AMR\n", b"#!AMR-WB\n"], ids=["narrow", "wide"])
def test_an_amr_recording_is_read(header: bytes) -> None:
    """PyAV has no encoder of it: frames of 20 ms at the highest rate, of whatever sound their bits mean."""
    frame_type, size = (7, 31) if header == b"#!AMR\n" else (8, 60)
    bits = np.random.default_rng(3)
    data = header + b"".join(bytes([frame_type << 3 | 4]) + bits.bytes(size) for _ in range(100))
    assert len(decode_reference(data)) == pytest.approx(2 * 48_000, abs=2_000)


@pytest.mark.parametrize("rate_hz", [8_001, 44_101, 47_999, 191_999])
def test_an_odd_rate_is_read_as_fast_as_a_common_one_and_in_tune(rate_hz: int) -> None:
    def seconds(rate_hz: int) -> float:
        data = with_soundfile(tone(440, 20.0, rate_hz), rate_hz)
        begin_s = time.process_time()
        samples = from_pcm(decode_reference(data))
        took_s = time.process_time() - begin_s
        assert samples.size == pytest.approx(20 * 24_000, rel=5e-5)
        assert fundamental_hz(samples[24_000:96_000], low_hz=300) == pytest.approx(440, rel=1e-3)
        return took_s

    seconds(44_100)  # loads what the first one needs
    assert seconds(rate_hz) < 20 * max(seconds(192_000), 0.01)


def test_what_24_khz_cannot_hold_is_removed_and_not_folded_back() -> None:
    samples = from_pcm(decode_reference(with_soundfile(tone(440, 2.0, 48_000) + tone(16_000, 2.0, 48_000), 48_000)))[
        4_000:44_000
    ]
    assert strength(samples, 8_000) < 0.4 / 500
    assert strength(samples, 440) == pytest.approx(0.4, rel=0.01)


def test_samples_that_are_no_numbers_are_handled() -> None:
    samples = tone(440, 2.0)
    samples[100:200], samples[300:310], samples[400:410], samples[500] = np.nan, np.inf, -np.inf, 1e30
    decoded = from_pcm(decode_reference(with_soundfile(samples, 24_000, subtype="FLOAT")))
    assert not decoded[100:200].any()
    assert strength(decoded[6_000:], 440) == pytest.approx(0.4, rel=0.01)
    with pytest.raises(ReferenceAudioError, match="silent"):
        decode_reference(with_soundfile(np.full(48_000, np.nan), 24_000, subtype="FLOAT"))


def test_a_picture_in_the_file_is_no_matter() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video, audio = container.add_stream("mpeg4", rate=10), container.add_stream("aac", rate=44_100, layout="mono")
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        for _ in range(20):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")))
        container.mux(video.encode(None))
        pcm = np.frombuffer(to_pcm(tone(440, 2.0, 44_100)), "<i2")
        frame = av.AudioFrame.from_ndarray(pcm[None], "s16", "mono")
        frame.sample_rate = 44_100
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    assert strength(from_pcm(decode_reference(file.getvalue()))[6_000:42_000], 440) > 0.35


def wav_header(rate_hz: int = 24_000, channels: int = 1) -> bytes:
    fmt = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * channels * 2 & 0xFFFFFFFF, channels * 2 & 0xFFFF, 16)
    return b"RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00" + fmt + b"data\xff\xff\xff\xff"


BAD = {
    "empty": (b"", "empty file"),
    "text": (b"Dear sir or madam, " * 500, "cannot be decoded"),
    "zeros": (bytes(50_000), "cannot be decoded"),
    "noise": (np.random.default_rng(0).bytes(50_000), "cannot be decoded"),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR" + bytes(500), "cannot be decoded"),
    "a header alone": (wav_header(), "cannot be decoded"),
    "half a header": (wav_header()[:30], "cannot be decoded"),
    "too short": (with_soundfile(tone(440, 0.9), 24_000), r"0\.90 s long, too short\. Send 1 to 60 s"),
    "too long": (with_soundfile(tone(440, 60.5, 8_000), 8_000), "longer than 60 s"),
    "silent": (with_soundfile(np.zeros(48_000), 24_000), "silent"),
    "next to silent": (with_soundfile(tone(440, 2.0, amplitude=0.0009), 24_000), "silent"),
    "a low rate": (with_soundfile(tone(440, 2.0, 4_000), 4_000), r"4,000 Hz\. Send one of 8,000 to 192,000 Hz"),
    "an absurd rate": (wav_header(400_000_000) + bytes(9_000), "400,000,000 Hz"),
    "an absurd number of channels": (wav_header(channels=900) + bytes(9_000), "900 channels"),
    "a codec nobody records with": (record("mp4", "ac3", tone(440, 2.0, 44_100), 44_100), "codec, ac3"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_recording_that_cannot_be_used_is_refused_with_the_reason(name: str) -> None:
    data, reason = BAD[name]
    with pytest.raises(ReferenceAudioError, match=reason):
        decode_reference(data)


def test_the_error_is_one_of_the_wire() -> None:
    with pytest.raises(SpeechError) as caught:
        decode_reference(b"")
    assert (caught.value.code, caught.value.param) == (ErrorCode.INVALID_REFERENCE_AUDIO, "ref_audio")


def test_the_limits_are_the_callers() -> None:
    data = with_soundfile(tone(440, 2.0), 24_000)
    with pytest.raises(ReferenceAudioError, match=r"too short\. Send 3 to 10 s"):
        decode_reference(data, min_s=3, max_s=10)
    with pytest.raises(ReferenceAudioError, match=r"longer than 1\.5 s"):
        decode_reference(data, max_s=1.5)
    assert decode_reference(data, min_s=2, max_s=2)


def test_a_file_with_no_audio_track_is_refused() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")))
        container.mux(video.encode(None))
    with pytest.raises(ReferenceAudioError, match="no audio track"):
        decode_reference(file.getvalue())


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp3"
    secret.write_bytes(upload("mp3"))
    playlists = [
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{secret.as_uri()}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {secret}\n",
    ]
    for playlist in playlists:
        with pytest.raises(ReferenceAudioError, match="cannot be decoded"):
            decode_reference(playlist.encode())


@cache
def silence(minutes: int, container: str, subtype: str) -> bytes:
    file = io.BytesIO()
    with sf.SoundFile(file, "w", 24_000, 1, format=container, subtype=subtype) as out:
        for _ in range(minutes):
            out.write(np.zeros(60 * 24_000, np.int16))
    return file.getvalue()


@pytest.mark.parametrize(("container", "subtype", "minutes"), [("FLAC", "PCM_16", 60), ("OGG", "VORBIS", 10)])
@pytest.mark.parametrize("through_av", [False, True])
def test_an_hour_in_a_small_file_is_refused_without_decoding_it(
    container: str, subtype: str, minutes: int, through_av: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if through_av:
        monkeypatch.setattr("openai_frontend.audio.uploads.recording._SOUNDFILE_MAGIC", (b"none",))
    bomb = silence(minutes, container, subtype)
    assert len(bomb) < 300_000
    tracemalloc.start()
    try:
        with pytest.raises(ReferenceAudioError, match="longer than 60 s"):
            decode_reference(bomb)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # As float32, 60 s are 6 MB, ten minutes 58, an hour 346.
    assert peak_bytes < 20_000_000


@pytest.mark.parametrize("name", sorted(UPLOADS))
def test_a_damaged_file_is_decoded_or_refused_and_nothing_else(name: str) -> None:
    rng = np.random.default_rng(len(name))
    for turn in range(24):
        data = bytearray(upload(name)[:40_000])
        # By turns: bits anywhere, bytes of the header, all ones somewhere early, the end missing.
        if turn % 4 == 0:
            for at in rng.integers(0, len(data), 100):
                data[at] ^= 1 << int(rng.integers(8))
        elif turn % 4 == 1:
            for at in rng.integers(0, 300, 8):
                data[at] = int(rng.integers(256))
        elif turn % 4 == 2:
            at = int(rng.integers(0, 2_000))
            data[at : at + 4] = b"\xff\xff\xff\xff"
        else:
            del data[int(rng.integers(0, len(data))) :]
        with contextlib.suppress(ReferenceAudioError):
            assert 24_000 * 2 <= len(decode_reference(bytes(data))) <= 60 * 24_000 * 2 + 2


def test_decoding_damaged_files_writes_nothing_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("mp3", "aac", "m4a", "webm", "ogg vorbis", "flac 48 kHz"):
        data = bytearray(upload(name))
        data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
        with contextlib.suppress(ReferenceAudioError):
            decode_reference(bytes(data))
    assert capfd.readouterr() == ("", "")
