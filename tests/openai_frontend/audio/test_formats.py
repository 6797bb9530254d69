import dataclasses

import pytest

from openai_frontend.audio.formats import FORMATS

CONTENT_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
    "ogg": "audio/ogg",
    "wave": "audio/wav",
}
MAGIC = {"mp3": b"\xff\xf3", "opus": b"OggS", "aac": b"\xff\xf1", "flac": b"fLaC", "wav": b"RIFF", "ogg": b"OggS"}


def test_the_formats_are_openais_six_and_ogg_and_the_old_name_of_wav() -> None:
    assert {name: audio_format.content_type for name, audio_format in FORMATS.items()} == CONTENT_TYPES
    assert FORMATS["wave"] is FORMATS["wav"]


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        FORMATS["mp3"] = FORMATS["wav"]  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        FORMATS["mp3"].name = "mp4"  # type: ignore[misc]


@pytest.mark.parametrize("name", sorted(MAGIC))
def test_a_body_is_what_its_content_type_says(name: str) -> None:
    encoder = FORMATS[name].new_encoder()
    assert (encoder.encode(b"\x00\x20" * 24_000) + encoder.close()).startswith(MAGIC[name])


def test_every_reply_gets_an_encoder_of_its_own() -> None:
    for audio_format in FORMATS.values():
        first, second = audio_format.new_encoder(), audio_format.new_encoder()
        assert first is not second
        first.close()
        assert second.encode(b"\x00\x20" * 24_000)
        second.close()
