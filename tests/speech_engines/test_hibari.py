"""The embedded voice: its speakers, present or to download, and how it splits a text."""

import shutil
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("hibari")
from hibari.voices import VOICES, voice_path

from speech_engines import hibari
from speech_engines.hibari import HibariSynthesizer, Speakers
from speech_engines.worker import Summary
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.request import SpeechRequest
from speech_protocol.speakers import HIBARI_DEFAULT, HIBARI_SPEAKERS, HIBARI_STAND_INS
from tests.support.waiting import eventually

TEXT = "The bath water was rather hot."


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of downloaded speakers, empty, and no network."""
    monkeypatch.setenv("HIBARI_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def put(home: Path, *names: str) -> None:
    """A stand-in for the weights of a British speaker: the same model reads British phonemes."""
    for name in names:
        shutil.copy(voice_path("heart"), home / VOICES[name]["file"])


def spoken(synthesizer: HibariSynthesizer, text: str = TEXT, speaker: str | None = None) -> npt.NDArray[np.float32]:
    request = SpeechRequest(text, speaker=speaker, seed=7)
    synthesizer.check(request)
    return np.concatenate([samples for samples, _ in synthesizer.synthesize(request, lambda: False)])


def summary(synthesizer: HibariSynthesizer, text: str) -> tuple[int, Summary]:
    """How many chunks a text is spoken in, and the summary."""
    count = 0
    chunks = synthesizer.synthesize(SpeechRequest(text, seed=7), lambda: False)
    while True:
        try:
            next(chunks)
        except StopIteration as stop:
            return count, stop.value
        count += 1


def test_the_table_of_speakers_is_the_packages() -> None:
    assert {speaker.name: speaker.gender for speaker in HIBARI_SPEAKERS} == {
        name: voice["gender"] for name, voice in VOICES.items()
    }
    for speaker in HIBARI_SPEAKERS:
        assert VOICES[speaker.name]["accent"] in speaker.description
    assert set(HIBARI_STAND_INS.values()) <= set(VOICES)


def test_a_speaker_on_the_machine_is_offered_and_speaks(home: Path) -> None:
    put(home, "emma")
    synthesizer = HibariSynthesizer(Speakers())
    assert set(synthesizer.capabilities.speakers) == {"heart", "emma"}
    assert not np.array_equal(spoken(synthesizer, speaker="emma"), spoken(synthesizer, speaker="heart"))


def test_names_of_openai_and_qwen_are_spoken_by_gender_and_accent_where_the_speaker_is_there(home: Path) -> None:
    alone = HibariSynthesizer(Speakers())
    put(home, "fable")
    with_fable = HibariSynthesizer(Speakers())
    heart = spoken(alone)
    for name, stand_in in HIBARI_STAND_INS.items():
        assert np.array_equal(spoken(alone, speaker=name), heart), name
        assert np.array_equal(spoken(with_fable, speaker=name), heart) == (stand_in != "fable"), name


def test_a_speaker_that_is_not_there_is_an_error_that_says_why(home: Path) -> None:
    synthesizer = HibariSynthesizer(Speakers())
    for name, says in (("emma", "HF_HUB_OFFLINE is set"), ("nobody", "not a speaker of hibari")):
        with pytest.raises(SpeechError, match=says) as error:
            synthesizer.check(SpeechRequest(TEXT, speaker=name))
        assert (error.value.code, error.value.param) == (ErrorCode.UNKNOWN_SPEAKER, "speaker")
        assert HIBARI_DEFAULT in error.value.message


def test_missing_speakers_are_downloaded_while_the_others_speak(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    network = threading.Event()

    def download(name: str) -> None:
        assert network.wait(60)
        put(home, name)

    speakers = Speakers()
    monkeypatch.setattr(hibari, "voice_path", download)
    speakers.download()  # returns at once, the network being slow
    with pytest.raises(SpeechError, match="being downloaded"):
        raise speakers.missing("emma")
    assert speakers.present == (HIBARI_DEFAULT,)
    network.set()
    eventually(lambda: set(speakers.present) == set(VOICES), "all are there")


def test_a_download_that_fails_changes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")

    def fail(name: str) -> None:
        raise RuntimeError("no network")

    speakers = Speakers()
    monkeypatch.setattr(hibari, "voice_path", fail)
    speakers.download()
    eventually(lambda: "download failed" in speakers.missing("emma").message, "the failure is noticed")
    assert speakers.present == (HIBARI_DEFAULT,)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("On Sept. 9 we went to Ft. Worth.", 1),
        ("Dr. Smith of Acme Inc. came. He left.", 2),
        ("One line\nand another", 2),
        ("hello there, " * 100, 4),
    ],
)
def test_a_text_is_spoken_in_sentences_that_end_where_a_reader_ends_them(text: str, sentences: int) -> None:
    assert summary(HibariSynthesizer(Speakers()), text)[0] == sentences


def test_letters_that_it_cannot_read_are_left_out_with_a_warning() -> None:
    synthesizer = HibariSynthesizer(Speakers())
    assert np.array_equal(spoken(synthesizer, "Say Привет now."), spoken(synthesizer, "Say  now."))
    assert "skipped" in summary(synthesizer, "Say Привет now.")[1].warnings[0]
    with pytest.raises(SpeechError, match="Qwen3-TTS") as error:
        spoken(synthesizer, "Привет")
    assert error.value.code is ErrorCode.UNSPEAKABLE_TEXT
