import pytest

from openai_frontend.audio.uploads.mp4_guard import claims_too_much, is_mp4
from openai_frontend.audio.uploads.reference import ReferenceAudioError, decode_reference
from tests.openai_frontend.audio.signals import record, tone

M4A = record("ipod", "aac", tone(440, 2.0, 44_100), 44_100)
FRAGMENTED = record("mp4", "aac", tone(440, 2.0, 44_100), 44_100, movflags="frag_keyframe+empty_moov")
PCM = record("mov", "pcm_s16le", tone(440, 2.0, 44_100), 44_100)


def patched(data: bytes, table: bytes, offset: int, *values: int) -> bytes:
    """`data` with 32-bit `values` written `offset` bytes after the first `table` tag."""
    at = data.index(table) + offset
    new = b"".join(value.to_bytes(4, "big") for value in values)
    return data[:at] + new + data[at + len(new) :]


BOMBS = {
    "80 million samples of one size": patched(M4A, b"stsz", 8, 1, 80_000_000),
    "80 million samples of any size": patched(M4A, b"stsz", 8, 0, 80_000_000),
    "80 million samples without ftyp": patched(M4A, b"stsz", 8, 1, 80_000_000).replace(b"ftyp", b"free", 1),
    "80 million samples in a fragment": patched(FRAGMENTED, b"trun", 4, 1, 80_000_000),
    "a chunk of 2 billion samples": patched(PCM, b"stsc", 16, 0x7FFFFFFF),
    "a table longer than the file": patched(M4A, b"stsc", 8, 0x7FFFFFFF),
    "a deflated header": M4A + b"\x00\x00\x00\x0cdcomzlib",
}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_a_header_that_would_cost_gigabytes_is_refused_unopened(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai_frontend.audio.uploads.recording.av.open", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(ReferenceAudioError, match="not one of a short recording"):
        decode_reference(BOMBS[name])


LONG_PCM = record("mov", "pcm_s16be", tone(440, 59.0, 48_000), 48_000)


@pytest.mark.parametrize("data", [M4A, FRAGMENTED, PCM, LONG_PCM], ids=["m4a", "fragmented", "pcm", "long pcm"])
def test_a_recording_is_let_through(data: bytes) -> None:
    assert is_mp4(data)
    assert not claims_too_much(data)


def test_a_tables_name_inside_the_audio_is_no_table() -> None:
    at = M4A.index(b"mdat") + 200
    assert not claims_too_much(M4A[:at] + b"stsz" + b"\xff" * 60 + M4A[at + 64 :])


@pytest.mark.parametrize("data", [b"", b"RIFF", b"\x00\x00\x00\x18ftyp", b"\x00" * 40, M4A[:20]])
def test_scraps_are_no_error(data: bytes) -> None:
    assert not claims_too_much(data)
