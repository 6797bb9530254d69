"""The list of voices: names of the same voice, their models, and unavailable ones."""

from pathlib import Path
from typing import Any

import pytest

from openai_frontend.errors import ApiError
from openai_frontend.models.facts import ModelFacts
from openai_frontend.voices.catalog import Catalog
from openai_frontend.voices.library import Library, Origin
from openai_frontend.voices.listing import built_in_voices
from openai_frontend.voices.names import OPENAI_VOICES, SPEAKERS
from openai_frontend.voices.records import VoiceType
from openai_frontend.voices.reference import Reference
from speech_client.triton import ModelState, ModelStatus
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import StartEvent
from speech_protocol.languages import LANGUAGES
from speech_protocol.models import HIBARI, QWEN3_TTS_BASE, QWEN3_TTS_CUSTOM_VOICE, QWEN3_TTS_VOICE_DESIGN
from tests.support.stack import GivenSettings

CUSTOM = QWEN3_TTS_CUSTOM_VOICE.name
Entries = dict[str, dict[str, Any]]


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path, max_voices=10, max_bytes=10**6)


def facts(
    started: dict[str, StartEvent] | None = None,
    statuses: dict[str, ModelStatus] | None = None,
    unavailable: dict[str, str] | None = None,
) -> ModelFacts:
    known = ModelFacts({}, unavailable or {}, lambda: statuses or {})
    for model, event in (started or {}).items():
        known.record(model, event)
    return known


def started(*speakers: str) -> dict[str, StartEvent]:
    return {HIBARI.name: StartEvent("hibari", "hibari-tts", "cpu", languages=("english",), speakers=speakers)}


def entries(library: Library, known: ModelFacts, model: str | None = None, **settings: Any) -> Entries:
    catalog = Catalog(GivenSettings(unavailable_models=known.unavailable, **settings), library)
    return {entry["id"]: entry for entry in built_in_voices(catalog, known, model)}


def distinct(listed: Entries) -> set[str]:
    return {name for name, entry in listed.items() if entry["available"] and "same_as" not in entry}


def test_with_the_embedded_voice_alone_every_name_is_that_one_voice(library: Library) -> None:
    listed = entries(library, facts(started("heart")), default_model=HIBARI.name)
    assert distinct(listed) == {"heart"}
    for name in (*OPENAI_VOICES, *(speaker.name for speaker in SPEAKERS)):
        assert (listed[name]["speaker"], listed[name]["same_as"]) == ("heart", "heart")
        assert (listed[name]["model"], listed[name]["languages"]) == (HIBARI.name, ["english"])
        assert (listed[name]["gender"], listed[name]["description"]) == ("female", "American English")
    for name in ("emma", "fenrir", "kore"):
        assert (listed[name]["available"], "downloaded" in listed[name]["reason"]) == (False, True)
        assert listed[name]["gender"]


def test_speakers_that_are_on_the_machine_are_voices_of_their_own(library: Library) -> None:
    listed = entries(library, facts(started("heart", "fenrir", "fable")), default_model=HIBARI.name)
    assert distinct(listed) == {"heart", "fenrir", "fable"}
    assert listed["onyx"]["same_as"] == listed["ryan"]["same_as"] == "fenrir"
    assert listed["ballad"]["same_as"] == "fable"
    assert listed["nova"]["same_as"] == "heart"
    assert listed["onyx"]["gender"] == "male"


def test_with_qwen_openais_names_are_its_nine_speakers(library: Library) -> None:
    listed = entries(library, facts())
    assert distinct(listed) == {speaker.name for speaker in SPEAKERS}
    assert {name: listed[name]["same_as"] for name in OPENAI_VOICES} == dict(OPENAI_VOICES)
    assert listed["alloy"]["languages"] == list(LANGUAGES)


def test_a_fine_tuned_checkpoint_has_its_own_speakers_and_languages(library: Library, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"talker_config": {"spk_id": {"me": 1}}}')
    known = facts({CUSTOM: StartEvent("qwen3_tts", "x", "cpu", languages=("german",), speakers=("me",))})
    listed = entries(library, known, custom_voice_model_id=str(tmp_path), model_id=str(tmp_path))
    assert distinct(listed) == {"me"}
    assert listed["me"]["languages"] == ["german"]
    assert "There is no voice" in listed["vivian"]["reason"]


def test_what_cannot_be_loaded_says_why(library: Library) -> None:
    told = entries(library, facts(unavailable={CUSTOM: "No GPU."}))
    assert {(entry["available"], entry["reason"]) for entry in told.values()} == {(False, "No GPU.")}
    assert told["vivian"]["gender"] == "female"
    text = SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, "The hub can't be reached.").to_text()
    failed = entries(
        library, facts(statuses={CUSTOM: ModelStatus(ModelState.FAILED, f"failed to load: {text}\n\nAt:")})
    )
    assert failed["alloy"]["reason"] == "The hub can't be reached."


def test_a_name_that_the_operator_maps_is_the_voice_it_leads_to(library: Library) -> None:
    library.add_voice("Anna", Reference.from_pcm(b"\0\0"), Origin(VoiceType.AUDIO_SAMPLE))
    names = {"alloy": "Anna", "duet": "anna(3)+anna(1)", "gone": "nobody", "house": "sage"}
    listed = entries(library, facts(), voice_names=names)
    assert (listed["alloy"]["same_as"], listed["alloy"]["model"]) == ("Anna", QWEN3_TTS_BASE.name)
    assert listed["duet"]["same_as"] == "Anna(0.75)+Anna(0.25)"
    assert listed["house"]["same_as"] == "sohee"
    assert not listed["gone"]["available"]


def test_the_list_of_one_model_has_what_that_model_speaks_with(library: Library) -> None:
    known = facts(started("heart", "emma"))
    assert distinct(entries(library, known, HIBARI.name)) == {"heart", "emma"}
    assert entries(library, known, QWEN3_TTS_BASE.name) == {}
    assert entries(library, known, "tts-1").keys() == entries(library, known).keys()
    designed = entries(library, known, QWEN3_TTS_VOICE_DESIGN.name)
    assert {entry["speaker"] for entry in designed.values()} == {None}
    with pytest.raises(ApiError) as error:
        entries(library, known, "tts-9")
    assert error.value.code == "model_not_found"
