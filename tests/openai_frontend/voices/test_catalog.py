"""The model and the voice of a request, for all kinds of names."""

from pathlib import Path
from typing import Any

import pytest

from openai_frontend.errors import ApiError
from openai_frontend.voices.catalog import Catalog, Target
from openai_frontend.voices.library import Library, Origin
from openai_frontend.voices.names import OPENAI_VOICES, SPEAKERS
from openai_frontend.voices.records import Voice, VoiceType
from openai_frontend.voices.reference import Reference
from speech_protocol.models import Task
from tests.support.stack import GivenSettings

CUSTOM, BASE, DESIGN, HIBARI = "qwen3_tts_custom_voice", "qwen3_tts_base", "qwen3_tts_voice_design", "hibari"
Q = "Qwen/Qwen3-TTS-12Hz-"


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path, max_voices=10, max_bytes=10**6)


@pytest.fixture
def anna(library: Library) -> Voice:
    return library.add_voice("Anna", Reference.from_pcm(b"\0\0"), Origin(VoiceType.AUDIO_SAMPLE))


@pytest.fixture
def grandpa(library: Library) -> Voice:
    return library.add_voice("Grandpa", Reference.from_pcm(b"\1\0"), Origin(VoiceType.PROMPT, prompt="Old."))


def catalog_of(library: Library, **settings: Any) -> Catalog:
    return Catalog(GivenSettings(**settings), library)


def spoken_with(target: Target) -> dict[str, float]:
    return {each.voice.name: round(each.weight, 3) for each in target.voices}


@pytest.mark.parametrize("name", [*OPENAI_VOICES, *(speaker.name for speaker in SPEAKERS), " Alloy ", "Uncle Fu"])
def test_a_built_in_name_is_a_speaker_of_the_custom_voice_model_or_the_embedded_voice(
    library: Library, name: str
) -> None:
    folded = name.strip().lower().replace(" ", "_")
    speaker = OPENAI_VOICES.get(folded, folded)
    for model in (None, "tts-1", "tts-1-hd", "gpt-4o-mini-tts", "tts-1-2026-01-31", "qwen3-tts", CUSTOM):
        assert catalog_of(library).resolve(model, name) == Target(CUSTOM, speaker), model
    assert catalog_of(library, default_model=HIBARI).resolve("tts-1", name) == Target(HIBARI, folded)
    # A default model of another variant is replaced by the right variant.
    assert catalog_of(library, default_model=BASE).resolve("tts-1", name) == Target(CUSTOM, speaker)


@pytest.mark.parametrize("main", [CUSTOM, BASE, DESIGN, HIBARI, "mine"])
def test_a_voice_of_the_library_goes_to_the_cloning_model_whatever_the_main_one(
    library: Library, anna: Voice, grandpa: Voice, main: str
) -> None:
    catalog = catalog_of(library, default_model=main, model_names={"my-model": "mine"})
    for name in (anna.id, "anna", grandpa.id, "GRANDPA"):
        for model in (None, "tts-1", BASE, f"{Q}0.6B-Base"):
            target = catalog.resolve(model, name)
            assert (target.model, target.speaker) == (BASE, None)
            assert len(spoken_with(target)) == 1
    # A model added by the operator is used by name only.
    assert catalog.resolve("my-model", "anna").model == "mine"


def test_the_map_of_the_operator_wins_and_may_lead_anywhere(library: Library, anna: Voice, grandpa: Voice) -> None:
    names = {"Alloy": "anna", "echo": grandpa.id, "nova": "Anna(3)+Grandpa(1)", "house": "sage", "x": "nobody"}
    catalog = catalog_of(library, voice_names=names, default_voice="house")
    assert spoken_with(catalog.resolve("tts-1", "alloy")) == {"Anna": 1}
    assert spoken_with(catalog.resolve("tts-1", "ECHO")) == {"Grandpa": 1}
    assert spoken_with(catalog.resolve("tts-1", "nova")) == {"Anna": 0.75, "Grandpa": 0.25}
    assert catalog.resolve("tts-1", "house") == catalog.resolve("tts-1", None) == Target(CUSTOM, "sohee")
    assert spoken_with(catalog.resolve("tts-1", "alloy(1)+grandpa")) == {"Anna": 0.5, "Grandpa": 0.5}
    with pytest.raises(ApiError) as error:
        catalog.resolve("tts-1", "x")
    assert (error.value.param, error.value.code) == ("voice", "unknown_speaker")


@pytest.mark.parametrize(
    ("model", "voice", "param", "says"),
    [
        (CUSTOM, "anna", "model", BASE),
        (DESIGN, "anna", "model", BASE),
        (HIBARI, "anna+grandpa", "model", BASE),
        (f"{Q}0.6B-CustomVoice", "anna", "model", BASE),
        (f"{Q}1.7B-VoiceDesign", "anna", "model", BASE),
        (BASE, "alloy", "model", CUSTOM),
        (f"{Q}0.6B-Base", "vivian", "model", CUSTOM),
        (BASE, "nobody", "voice", "Anna"),
        (None, "nobody", "voice", "Anna"),
        (None, "voice_" + "0" * 32, "voice", "Anna"),
        (HIBARI, "voice_" + "0" * 32, "voice", "Anna"),
        (None, "anna+nobody", "voice", "alloy"),
        (None, "anna+alloy", "voice", "built-in"),
        (None, "anna(0)+grandpa", "voice", "weight"),
    ],
)
def test_what_does_not_fit_is_a_400_that_says_what_does(
    library: Library, anna: Voice, grandpa: Voice, model: str | None, voice: str, param: str, says: str
) -> None:
    with pytest.raises(ApiError, match=says) as error:
        catalog_of(library).resolve(model, voice)
    assert (error.value.status, error.value.param) == (400, param)


def test_a_recording_with_the_request_needs_a_model_that_clones(library: Library) -> None:
    catalog = catalog_of(library, model_names={"my-model": "mine"})
    for model in (None, "tts-1", BASE):
        assert catalog.resolve(model, None, Task.CLONE) == Target(BASE)
    assert catalog.resolve("my-model", None, Task.CLONE) == Target("mine")
    with pytest.raises(ApiError, match=BASE):
        catalog.resolve(CUSTOM, None, Task.CLONE)


def test_a_description_needs_a_model_that_designs_and_takes_any_built_in_name(library: Library, anna: Voice) -> None:
    catalog = catalog_of(library, default_voice="anna")
    assert catalog.resolve(DESIGN, None) == catalog.resolve(DESIGN, "alloy") == Target(DESIGN)
    assert catalog.resolve(None, "alloy", Task.VOICE_DESIGN) == Target(DESIGN)
    assert catalog.resolve(DESIGN, None).needs_instructions
    with pytest.raises(ApiError) as error:
        catalog.resolve(None, "anna", Task.VOICE_DESIGN)
    assert error.value.param == "voice"


def test_a_speaker_that_only_the_model_knows_is_left_to_it(library: Library, tmp_path: Path) -> None:
    assert catalog_of(library).resolve(HIBARI, "heart") == Target(HIBARI, "heart")
    assert catalog_of(library, custom_voice_model_id="me/my-own").resolve(CUSTOM, "Me") == Target(CUSTOM, "me")
    (tmp_path / "config.json").write_text('{"talker_config": {"spk_id": {"me": 1}}}')
    tuned = catalog_of(library, custom_voice_model_id=str(tmp_path))
    assert tuned.resolve(None, "me") == Target(CUSTOM, "me")
    with pytest.raises(ApiError):
        tuned.resolve(None, "nobody")


def test_an_unknown_model_is_a_404(library: Library) -> None:
    with pytest.raises(ApiError) as error:
        catalog_of(library).resolve("tts-9", "alloy")
    assert (error.value.status, error.value.code) == (404, "model_not_found")


@pytest.mark.parametrize("settings", [{"default_voice": "anna"}, {"default_voice": "heart", "default_model": HIBARI}])
def test_a_described_voice_does_not_depend_on_the_default_voice(library: Library, settings: dict[str, str]) -> None:
    assert catalog_of(library, **settings).resolve(None, None, Task.VOICE_DESIGN) == Target(DESIGN)
