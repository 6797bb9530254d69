"""Voices and consents over HTTP, with the methods of the `openai` package if it has them."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
import soundfile

from speech_protocol.audio import SAMPLE_RATE_HZ
from tests.support.replies import check
from tests.support.stack import Frontend

VOICES = "/v1/audio/voices"
CONSENTS = "/v1/audio/voice_consents"
# Nothing listens there: these routes must not depend on Triton.
NO_TRITON = "http://127.0.0.1:9"


def wav(seconds: float = 2.0, hz: float = 200.0) -> bytes:
    file = io.BytesIO()
    time_s = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    soundfile.write(file, 0.3 * np.sin(2 * np.pi * hz * time_s), SAMPLE_RATE_HZ, format="WAV")
    return file.getvalue()


SAMPLE = ("anna.wav", wav(), "audio/wav")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "voices"


@pytest.fixture
def frontend(folder: Path) -> Iterator[Frontend]:
    with Frontend(triton_url=NO_TRITON, voices_folder=str(folder), voice_names={"fable": "Anna"}) as running:
        yield running


def post(frontend: Frontend, path: str, **arguments: Any) -> httpx2.Response:
    return httpx2.post(frontend.url + path, timeout=30, **arguments)


def create(frontend: Frontend, name: str = "Anna", **fields: str) -> dict[str, Any]:
    reply = post(frontend, VOICES, data={"name": name, **fields}, files={"audio_sample": SAMPLE})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def listed(frontend: Frontend) -> list[str]:
    reply = httpx2.get(frontend.url + VOICES, params={"legacy": "true"}, timeout=30)
    return list(reply.json()["voices"])


# Voices


def test_the_openai_client_creates_and_deletes_a_voice_and_stores_its_consent(frontend: Frontend) -> None:
    client = frontend.openai()
    consent = client.audio.voice_consents.create(name="Anna", language="en-US", recording=SAMPLE)
    voice = client.audio.voices.create(name="Anna", audio_sample=SAMPLE, consent=consent.id)
    assert voice.id.startswith("voice_")
    assert (voice.object, voice.name, voice.type) == ("audio.voice", "Anna", "audio_sample")
    assert voice.created_at > 1_700_000_000
    assert "Anna" in listed(frontend)
    deleted = client.audio.voices.delete(voice.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (voice.id, True, "audio.voice.deleted")
    assert "Anna" not in listed(frontend)
    with pytest.raises(openai.NotFoundError) as error:
        client.audio.voices.delete(voice.id)
    assert error.value.code == "voice_not_found"


def test_a_list_has_the_built_in_voices_and_then_the_stored_ones(frontend: Frontend) -> None:
    first, second = create(frontend, "First"), create(frontend, "Second", language="de")
    reply = httpx2.get(frontend.url + VOICES, timeout=30).json()
    assert reply["object"] == "list"
    assert reply["data"] == reply["voices"]
    assert {"id": "alloy", "name": "alloy", "object": "audio.voice"}.items() <= reply["data"][9].items()
    assert reply["data"][-2:] == [second, first]
    assert second["language"] == "german"
    assert all({"id", "name", "object"} <= voice.keys() for voice in reply["data"])
    plain = httpx2.get(frontend.url + "/audio/voices?legacy=true&model=tts-1", timeout=30).json()["voices"]
    assert plain == [voice["name"] for voice in reply["data"]]


def test_a_voice_is_shown_by_its_id_and_a_built_in_one_by_its_name(frontend: Frontend) -> None:
    voice = create(frontend)
    assert httpx2.get(f"{frontend.url}{VOICES}/{voice['id']}", timeout=30).json() == voice
    assert httpx2.get(f"{frontend.url}{VOICES}/vivian", timeout=30).json()["gender"] == "female"
    check(httpx2.get(f"{frontend.url}{VOICES}/voice_0", timeout=30), 404, "voice_id", "voice_not_found")
    check(httpx2.delete(f"{frontend.url}{VOICES}/vivian", timeout=30), 400, "voice_id", "built_in_voice")


def test_a_restart_finds_every_voice_and_consent(frontend: Frontend, folder: Path) -> None:
    voices = [create(frontend, f"voice {number}", ref_text="Hello.") for number in range(3)]
    consent = frontend.openai().audio.voice_consents.create(name="Anna", language="en", recording=SAMPLE)
    with Frontend(triton_url=NO_TRITON, voices_folder=str(folder)) as again:
        found = httpx2.get(again.url + VOICES, timeout=30).json()["data"]
        assert found[-3:] == voices[::-1]
        assert again.openai().audio.voice_consents.retrieve(consent.id) == consent
        again.openai().audio.voices.delete(voices[0]["id"])
    # The other process, which has been running all the time, sees it, too.
    assert "voice 0" not in listed(frontend)


def test_a_stored_voice_has_the_cleaned_recording_its_transcript_and_its_owner(
    frontend: Frontend, folder: Path
) -> None:
    long_silence = np.concatenate([np.zeros(SAMPLE_RATE_HZ), soundfile.read(io.BytesIO(wav()))[0] / 10])
    file = io.BytesIO()
    soundfile.write(file, long_silence, SAMPLE_RATE_HZ, format="FLAC")
    reply = post(
        frontend,
        VOICES,
        data={"name": "Anna", "ref_text": " La la la. "},
        files={"audio_sample": ("a.flac", file.getvalue())},
        headers={"Authorization": "Bearer secret-key"},
    )
    stored = folder / "voices" / reply.json()["id"]
    samples, rate_hz = soundfile.read(stored / "reference.wav")
    assert (rate_hz, samples.ndim) == (SAMPLE_RATE_HZ, 1)
    assert len(samples) == pytest.approx(2.1 * SAMPLE_RATE_HZ, rel=0.02)
    assert np.sqrt(np.mean(samples[4_000:] ** 2)) == pytest.approx(0.1, rel=0.1)
    assert (stored / "transcript.txt").read_text() == "La la la."
    metadata = json.loads((stored / "metadata.json").read_text())
    assert metadata["type"] == "audio_sample"
    assert metadata["has_transcript"] is True
    assert metadata["owner"] is None  # the server asks for no key


@pytest.mark.parametrize(
    ("fields", "files", "param", "code"),
    [
        ({}, {"audio_sample": SAMPLE}, "name", "missing_required_parameter"),
        ({"name": "x"}, {}, "audio_sample", "missing_required_parameter"),
        ({"name": "x", "audio_sample": "text"}, {}, "audio_sample", None),
        ({"name": " "}, {"audio_sample": SAMPLE}, "name", None),
        ({"name": "x" * 65}, {"audio_sample": SAMPLE}, "name", None),
        ({"name": "a+b"}, {"audio_sample": SAMPLE}, "name", None),
        ({"name": "alloy"}, {"audio_sample": SAMPLE}, "name", "voice_name_taken"),
        ({"name": " Uncle Fu"}, {"audio_sample": SAMPLE}, "name", "voice_name_taken"),
        ({"name": "x", "type": "video"}, {"audio_sample": SAMPLE}, "type", None),
        ({"name": "x", "type": "prompt"}, {}, "prompt", "missing_required_parameter"),
        ({"name": "x", "type": "prompt", "prompt": "  "}, {}, "prompt", None),
        ({"name": "x", "type": "prompt", "prompt": "y" * 4097}, {}, "prompt", None),
        ({"name": "x", "type": "prompt", "prompt": "y", "script_hint": "y" * 201}, {}, "script_hint", None),
        ({"name": "x", "language": "klingon"}, {"audio_sample": SAMPLE}, "language", None),
        ({"name": "x", "ref_text": "y" * 200_000}, {"audio_sample": SAMPLE}, "ref_text", None),
        ({"name": "x", "consent": "cons_0"}, {"audio_sample": SAMPLE}, "consent", "consent_not_found"),
        ({"name": "x"}, {"audio_sample": ("x", b"no audio")}, "audio_sample", "invalid_reference_audio"),
        ({"name": "x"}, {"audio_sample": ("x", wav(0.5))}, "audio_sample", "invalid_reference_audio"),
        ({"name": "x"}, {"audio_sample": ("x", wav(61))}, "audio_sample", "invalid_reference_audio"),
        ({"name": "x"}, {"audio_sample": ("x", wav(2, hz=0))}, "audio_sample", "invalid_reference_audio"),
    ],
    ids=str,
)
def test_a_wrong_field_is_a_400_that_names_it_and_keeps_nothing(
    frontend: Frontend, fields: dict[str, str], files: dict[str, Any], param: str, code: str | None
) -> None:
    before = listed(frontend)
    # A form is a multipart one only if it has a file.
    reply = post(frontend, VOICES, data=fields, files=files or {"nothing": ("", b"")})
    check(reply, 400, param, code)
    assert listed(frontend) == before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b'{"name": 3}', b'{"type": ["prompt"]}', b"[" * 100_000])
def test_a_json_body_that_is_no_voice_is_a_400(frontend: Frontend, body: bytes) -> None:
    reply = post(frontend, VOICES, content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def test_a_recording_sent_as_text_is_an_error_that_asks_for_a_file(frontend: Frontend) -> None:
    nothing = {"nothing": ("", b"")}
    for path, field, fields in (
        (VOICES, "audio_sample", {"name": "x"}),
        (CONSENTS, "recording", {"name": "x", "language": "en"}),
    ):
        reply = post(frontend, path, data={**fields, field: "text"}, files=nothing)
        assert "Send a file" in check(reply, 400, field, "invalid_type")


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_broken_form_is_a_400(frontend: Frontend, content_type: str) -> None:
    reply = post(frontend, VOICES, content=b"--y\r\nnonsense", headers={"Content-Type": content_type})
    check(reply, 400, None)


def test_a_taken_name_says_what_to_do(frontend: Frontend) -> None:
    create(frontend)
    reply = post(frontend, VOICES, data={"name": "ANNA "}, files={"audio_sample": SAMPLE})
    assert "delete" in check(reply, 400, "name", "voice_name_taken")
    reply = post(frontend, VOICES, data={"name": "fable"}, files={"audio_sample": SAMPLE})
    assert "VOICE_NAMES" in check(reply, 400, "name", "voice_name_taken")


def test_a_design_whose_model_is_unavailable_stores_nothing(frontend: Frontend) -> None:
    reply = post(frontend, VOICES, json={"type": "prompt", "name": "Grandpa", "prompt": "An old man."})
    check(reply, 503, None, "model_unavailable")
    assert "Grandpa" not in listed(frontend)


def test_a_full_library_says_what_to_do(folder: Path) -> None:
    with Frontend(triton_url=NO_TRITON, voices_folder=str(folder), max_voices=1) as frontend:
        voice = create(frontend)
        reply = post(frontend, VOICES, data={"name": "Berta"}, files={"audio_sample": SAMPLE})
        assert "MAX_VOICES" in check(reply, 400, None, "voice_limit_reached")
        frontend.openai().audio.voices.delete(voice["id"])
        create(frontend, "Berta")


def test_a_full_disk_is_a_507_and_the_next_request_works(frontend: Frontend, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import os

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        reply = post(frontend, VOICES, data={"name": "Anna"}, files={"audio_sample": SAMPLE})
    assert "Delete voices" in check(reply, 507, None, "storage_full")
    assert "Anna" not in listed(frontend)
    create(frontend)


# Consents


def test_the_openai_client_keeps_lists_renames_and_deletes_consents(frontend: Frontend) -> None:
    consents = frontend.openai().audio.voice_consents
    made = [consents.create(name=f"Speaker {number}", language="de-AT", recording=SAMPLE) for number in range(5)]
    assert all(each.id.startswith("cons_") and each.object == "audio.voice_consent" for each in made)
    pages = list(consents.list(limit=2).iter_pages())
    assert [len(page.data) for page in pages] == [2, 2, 1]
    assert [each.id for page in pages for each in page.data] == [each.id for each in reversed(made)]
    assert [page.has_more for page in pages] == [True, True, False]
    renamed = consents.update(made[0].id, name="Somebody else")
    assert (renamed.name, renamed.id, renamed.created_at) == ("Somebody else", made[0].id, made[0].created_at)
    assert consents.retrieve(made[0].id) == renamed
    deleted = consents.delete(made[0].id)
    assert (deleted.id, deleted.deleted, deleted.object) == (made[0].id, True, "audio.voice_consent")
    for call in (consents.delete, consents.retrieve, lambda consent: consents.update(consent, name="x")):
        with pytest.raises(openai.NotFoundError) as error:
            call(made[0].id)
        assert error.value.code == "consent_not_found"


def test_a_consents_recording_is_kept_as_it_came(frontend: Frontend, folder: Path) -> None:
    consent = frontend.openai().audio.voice_consents.create(name="Anna", language="en", recording=SAMPLE)
    assert (folder / "consents" / consent.id / "recording").read_bytes() == SAMPLE[1]


@pytest.mark.parametrize(
    ("fields", "upload", "param"),
    [
        ({"language": "en"}, SAMPLE, "name"),
        ({"name": "x"}, SAMPLE, "language"),
        ({"name": "x", "language": "English please"}, SAMPLE, "language"),
        ({"name": "\n", "language": "en"}, SAMPLE, "name"),
        ({"name": "x", "language": "en"}, ("x.wav", b"no audio"), "recording"),
        ({"name": "x", "language": "en"}, None, "recording"),
    ],
    ids=str,
)
def test_a_wrong_field_of_a_consent_is_a_400_that_names_it(
    frontend: Frontend, fields: dict[str, str], upload: Any, param: str
) -> None:
    files = {"recording": upload} if upload else {"nothing": ("", b"")}
    check(post(frontend, CONSENTS, data=fields, files=files), 400, param)


@pytest.mark.parametrize(("query", "param"), [("limit=0", "limit"), ("limit=101", "limit"), ("after=cons_0", "after")])
def test_a_page_that_does_not_exist_is_a_400_that_names_the_field(frontend: Frontend, query: str, param: str) -> None:
    check(httpx2.get(f"{frontend.url}{CONSENTS}?{query}", timeout=30), 400, param)


def test_where_a_consent_is_required_nothing_is_cloned_without_one(folder: Path) -> None:
    with Frontend(triton_url=NO_TRITON, voices_folder=str(folder), require_consent=True) as frontend:
        reply = post(frontend, VOICES, data={"name": "Anna"}, files={"audio_sample": SAMPLE})
        assert "voice_consents" in check(reply, 400, "consent", "missing_required_parameter")
        form = {"input": "Hello.", "consent": "cons_0"}
        inline = {"model": "tts-1", "voice": "alloy", "ref_audio": base64.b64encode(SAMPLE[1]).decode()}
        for given in ({"input": "Hello."}, form):
            reply = post(frontend, "/v1/audio/speech/clone", data=given, files={"ref_audio": SAMPLE})
            check(reply, 400, "consent")
            reply = post(frontend, "/v1/audio/speech", json={**given, **inline})
            check(reply, 400, "consent")
        consent = frontend.openai().audio.voice_consents.create(name="Anna", language="en", recording=SAMPLE)
        assert create(frontend, consent=consent.id)["consent"] == consent.id
        # Past the consent, and on to Triton, which is not there.
        form["consent"] = consent.id
        reply = post(frontend, "/v1/audio/speech/clone", data=form, files={"ref_audio": SAMPLE})
        check(reply, 503, None, "model_unavailable")
