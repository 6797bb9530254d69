"""The voice library on disk: entries are complete or absent, with concurrent writers and killed processes."""

import errno
import json
import os
import stat
import time
from pathlib import Path

import pytest

from openai_frontend.errors import ApiError
from openai_frontend.voices.library import Library, Origin
from openai_frontend.voices.records import Voice, VoiceType, check_voice_name
from openai_frontend.voices.reference import Reference
from tests.openai_frontend.audio.signals import to_pcm, tone

SAMPLE = Origin(VoiceType.AUDIO_SAMPLE)
PCM = to_pcm(tone(220, 1.0))


def open_library(folder: Path, max_voices: int = 1000, max_bytes: int = 2**30) -> Library:
    return Library(folder, max_voices, max_bytes)


def add(library: Library, name: str = "Anna", pcm: bytes = PCM, text: str | None = None) -> Voice:
    return library.add_voice(name, Reference.from_pcm(pcm, text), SAMPLE)


def names(library: Library) -> set[str]:
    return {voice.name for voice in library.voices()}


def test_a_voice_is_found_again_by_another_process_with_all_that_it_was_stored_with(tmp_path: Path) -> None:
    origin = Origin(VoiceType.PROMPT, owner="team-a", consent="cons_1", language="german", prompt="An old man.")
    stored = open_library(tmp_path).add_voice("Großvater", Reference.from_pcm(PCM, "Es war einmal."), origin)
    again = open_library(tmp_path)
    assert again.voices("team-a") == [stored]
    assert again.find(stored.id, "team-a") == again.find(" GROSSVATER ", "team-a") == stored
    assert again.reference(stored) == Reference.from_pcm(PCM, "Es war einmal.")
    assert (stored.owner, stored.consent, stored.language, stored.prompt) == (
        "team-a",
        "cons_1",
        "german",
        "An old man.",
    )


def test_a_voice_without_a_transcript_has_none(tmp_path: Path) -> None:
    library = open_library(tmp_path)
    assert library.reference(add(library)).text is None


def test_only_the_owner_may_read_what_is_stored(tmp_path: Path) -> None:
    library = open_library(tmp_path / "voices")
    add(library, text="Hello.")
    library.add_consent("Anna", "en-US", b"audio", "audio/wav")
    paths = [tmp_path / "voices", *(tmp_path / "voices").rglob("*")]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in paths}
    assert len(modes) >= 8
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items()), modes


def test_two_open_libraries_see_each_others_changes_at_once(tmp_path: Path) -> None:
    one, other = open_library(tmp_path), open_library(tmp_path)
    for turn in range(20):
        voice = add(one, f"voice {turn}")
        assert other.find(voice.name) == voice
        other.remove_voice(voice.id)
        assert one.find(voice.name) is None
    consent = one.add_consent("Anna", "en", b"audio", "audio/wav")
    assert other.consent(consent.id).name == "Anna"
    other.rename_consent(consent.id, "Berta")
    assert one.consent(consent.id).name == "Berta"


def test_a_change_within_the_same_tick_of_the_clock_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai_frontend.voices.store._TICK_NS", 60 * 10**9)
    one, other = open_library(tmp_path), open_library(tmp_path)
    add(other, "first")
    stamp_ns = (tmp_path / "voices").stat().st_mtime_ns
    assert names(one) == {"first"}
    add(other, "second")
    os.utime(tmp_path / "voices", ns=(stamp_ns, stamp_ns))
    assert names(one) == {"first", "second"}


def test_a_voice_that_goes_while_the_folder_is_read_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = open_library(tmp_path), open_library(tmp_path)
    add(one, "stays")
    goes = add(one, "goes")
    listdir = os.listdir

    def listdir_then_removal(path: Path) -> list[str]:
        found = listdir(path)
        with monkeypatch.context() as patch:
            patch.setattr(os, "listdir", listdir)
            other.remove_voice(goes.id)
        return found

    monkeypatch.setattr(os, "listdir", listdir_then_removal)
    assert names(open_library(tmp_path)) == {"stays"}


def test_a_list_reads_no_file_again_while_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = open_library(tmp_path)
    add(library)
    long_ago = time.time() - 60
    os.utime(tmp_path / "voices", (long_ago, long_ago))
    library.voices()

    def fail(*_: object) -> None:
        raise AssertionError("the folder was read again")

    monkeypatch.setattr(os, "listdir", fail)
    assert names(library) == {"Anna"}


def test_a_second_removal_finds_nothing(tmp_path: Path) -> None:
    library = open_library(tmp_path)
    voice = add(library)
    library.remove_voice(voice.id)
    with pytest.raises(ApiError) as error:
        library.remove_voice(voice.id)
    assert (error.value.status, error.value.code) == (404, "voice_not_found")
    assert not list((tmp_path / "voices").iterdir())


@pytest.mark.parametrize("voice_id", ["..", "../voices", "/etc", "voice_", ".", "", "voice_\0", "metadata.json"])
def test_an_id_never_becomes_a_path(tmp_path: Path, voice_id: str) -> None:
    library = open_library(tmp_path)
    add(library)
    for call in (library.voice, library.remove_voice):
        with pytest.raises(ApiError) as error:
            call(voice_id)
        assert error.value.status == 404
    assert names(library) == {"Anna"}


@pytest.mark.parametrize("name", ["anna", " Anna ", "ANNA", "Ａｎｎａ"])
def test_a_taken_name_is_refused_however_it_is_written(tmp_path: Path, name: str) -> None:
    library = open_library(tmp_path)
    add(library)
    with pytest.raises(ApiError) as error:
        add(library, name)
    assert (error.value.status, error.value.code, error.value.param) == (400, "voice_name_taken", "name")


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "a\nb", "a+b", "anna (2)", "anna(1.5)", "voice_" + "0" * 32])
def test_a_name_that_could_be_mistaken_is_refused(name: str) -> None:
    with pytest.raises(ApiError) as error:
        check_voice_name(name)
    assert error.value.param == "name"


@pytest.mark.parametrize("name", ["Anna", "  Anna (calm) ", "Voice 2", "声", "../../etc", "a/b"])
def test_any_other_name_is_a_label(tmp_path: Path, name: str) -> None:
    library = open_library(tmp_path)
    voice = add(library, check_voice_name(name))
    assert library.find(name) == voice
    assert voice.name == name.strip()


def test_the_bounds_say_what_to_do(tmp_path: Path) -> None:
    few = open_library(tmp_path, max_voices=2)
    add(few, "a")
    add(few, "b")
    with pytest.raises(ApiError, match=r"limit of 2 voices is reached\. Delete one, or raise MAX_VOICES") as error:
        add(few, "c")
    assert (error.value.status, error.value.code) == (400, "voice_limit_reached")
    small = open_library(tmp_path, max_bytes=3 * len(PCM) - 1)
    with pytest.raises(ApiError, match="MAX_VOICES_BYTES"):
        add(small, "c")
    with pytest.raises(ApiError, match="MAX_VOICES_BYTES"):
        small.add_consent("Anna", "en", PCM, "audio/wav")
    assert names(few) == {"a", "b"}


# Damage


def files_of(folder: Path, voice: Voice) -> Path:
    return folder / "voices" / voice.id


@pytest.mark.parametrize("damage", ["no metadata", "no json", "a list", "no name", "no recording", "half a recording"])
def test_a_damaged_voice_is_left_out_with_a_line_in_the_log_and_the_others_are_there(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    library = open_library(tmp_path)
    bad, _ = add(library, "bad"), add(library, "good")
    metadata, recording = files_of(tmp_path, bad) / "metadata.json", files_of(tmp_path, bad) / "reference.wav"
    values = json.loads(metadata.read_text())
    match damage:
        case "no metadata":
            metadata.unlink()
        case "no json":
            metadata.write_text('{"name": "b')
        case "a list":
            metadata.write_text("[]")
        case "no name":
            metadata.write_text(json.dumps({name: value for name, value in values.items() if name != "name"}))
        case "no recording":
            recording.unlink()
        case "half a recording":
            recording.write_bytes(recording.read_bytes()[:1000])
    again = open_library(tmp_path)
    assert names(again) == {"good"}
    assert [record.message for record in caplog.records if bad.id in record.message and "damaged" in record.message]
    add(again, "bad")
    assert names(open_library(tmp_path)) == {"good", "bad"}


def test_a_voice_that_is_copied_into_the_folder_is_there_when_the_copy_is_complete_and_the_folder_touched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there, here = open_library(tmp_path / "there"), open_library(tmp_path / "here")
    voice = add(there)
    add(here, "mine")
    original, copy = files_of(tmp_path / "there", voice), files_of(tmp_path / "here", voice)
    copy.mkdir()
    for name in ("metadata.json", "reference.wav"):
        (copy / name).write_bytes((original / name).read_bytes()[: 10**6 if name == "metadata.json" else 100])
    assert names(here) == names(here) == {"mine"}
    assert len([record for record in caplog.records if "damaged" in record.message]) == 1
    stamp = copy.stat().st_mtime_ns
    (copy / "reference.wav").write_bytes((original / "reference.wav").read_bytes())
    assert copy.stat().st_mtime_ns == stamp
    copy.parent.touch()
    assert names(here) == {"mine", "Anna"}
    assert here.reference(voice).pcm == PCM


def test_a_recording_that_was_changed_behind_our_back_is_not_spoken_with(tmp_path: Path) -> None:
    library = open_library(tmp_path)
    voice = add(library)
    path = files_of(tmp_path, voice) / "reference.wav"
    path.write_bytes(path.read_bytes()[:-2] + b"\x01\x02")
    with pytest.raises(ApiError) as error:
        library.reference(voice)
    assert (error.value.status, error.value.code) == (500, "voice_damaged")


def test_a_voice_that_was_deleted_since_it_was_found_is_an_unknown_one(tmp_path: Path) -> None:
    library = open_library(tmp_path)
    voice = add(library)
    open_library(tmp_path).remove_voice(voice.id)
    with pytest.raises(ApiError, match="deleted") as error:
        library.reference(voice)
    assert (error.value.status, error.value.param, error.value.code) == (400, "voice", "unknown_speaker")


def test_other_things_in_the_folder_are_no_voices(tmp_path: Path) -> None:
    library = open_library(tmp_path)
    add(library)
    (tmp_path / "voices" / "lost+found").mkdir()
    (tmp_path / "voices" / "notes.txt").write_text("mine")
    assert names(open_library(tmp_path)) == {"Anna"}


# A disk that does not take it


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [(errno.ENOSPC, 507, "storage_full"), (errno.EDQUOT, 507, "storage_full"), (errno.EIO, 503, "storage_unavailable")],
)
def test_a_full_disk_is_an_error_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int, code: str
) -> None:
    library = open_library(tmp_path)
    add(library, "before")

    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ApiError) as error:
            add(library, "after")
    assert (error.value.status, error.value.code) == (status, code)
    assert error.value.headers["x-should-retry"] == "false"
    assert len(list((tmp_path / "voices").iterdir())) == 1
    assert names(library) == {"before"}


def test_a_folder_that_cannot_be_created_is_an_error_and_breaks_no_list(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    library = open_library(tmp_path / "file" / "voices")
    assert library.voices() == []
    with pytest.raises(ApiError) as error:
        add(library)
    assert (error.value.status, error.value.code) == (503, "storage_unavailable")
