"""Settings at startup: each invalid one is a sentence with its name and the allowed values."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from openai_frontend.settings import Settings
from openai_frontend.settings.profiles import PROFILES
from openai_frontend.startup import SettingsProblem, read_settings, warn
from openai_frontend.voices.store import METADATA
from tests.support.stack import bare_environment

MODELS = "hibari, qwen3_tts_custom_voice, qwen3_tts_base, qwen3_tts_voice_design"


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def problems(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> list[str]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    try:
        read_settings()
    except SettingsProblem as problem:
        return problem.sentences
    return []


WRONG = {
    "PORT": ("99999", "a whole number of at least 1 and at most 65535"),
    "IDLE_TIMEOUT": ("soon", "a number of at least 0 and at most 86400"),
    "MAX_AUDIO_SECONDS": ("0", "a number above 0 and at most 3600"),
    "MAX_PENDING_REQUESTS": ("1.5", "a whole number of at least 1"),
    "UNLOAD_ON_STOP": ("perhaps", "true or false"),
    "DEFAULT_RESPONSE_FORMAT": ("mp4", "one of mp3, opus, aac, flac, wav, pcm, ogg"),
    "LOG_LEVEL": ("loud", "one of debug, info, warning, error"),
    "TRITON_URL": ("localhost:8000", "an address with its scheme, such as 'http://127.0.0.1:8000'"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("collector", "an address with its scheme"),
    "TRITON_CONTROL_KEY_FILE": ("none/key", "a file with the key, and that cannot be read: No such file or directory"),
    "MODEL_ID": ("/no/such/folder", "a folder that this process can see, or a hub id such as"),
    "BASE_MODEL_ID": ("Qwen3-TTS", "a folder that this process can see, or a hub id such as"),
    "DEFAULT_MODEL": ("foo", f"one of {MODELS}, or a Triton model that MODEL_NAMES names"),
    "KEEP_LOADED": ("hibary", f"some of {MODELS}, speech_batch, separated by commas"),
    "WARM_STANDBY": ("hibari", "some of qwen3_tts_custom_voice, qwen3_tts_base, qwen3_tts_voice_design, separated"),
    "DEFAULT_VOICE": ("nobody", "one of vivian, serena, "),
    "VOICE_NAMES": ("alloy", 'a JSON object of names, such as \'{"my-name": "its-meaning"}\''),
    "MODEL_NAMES": ('{"mine": 1}', "a JSON object of names"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_named_with_its_value_and_what_is_allowed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, allowed = WRONG[name]
    [sentence] = problems(monkeypatch, {name: value})
    assert sentence.startswith(f"{name} is '{value}'; it must be {allowed}")


def test_all_invalid_settings_are_reported_at_once_and_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"API_KEYS": " , ", "API_KEYS_FILE": "none/keys"}
    found = problems(monkeypatch, {**{name: value for name, (value, _) in WRONG.items()}, **keys})
    assert {sentence.split()[0].strip(",") for sentence in found} == {*WRONG, "API_KEYS_FILE"}


def test_the_program_ends_with_these_sentences_and_no_traceback(tmp_path: Path) -> None:
    environment = {**bare_environment(tmp_path), "PORT": "soon", "VOICE_NAMES": "alloy"}
    command = [sys.executable, "-m", "openai_frontend"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert [line.split()[:3] for line in done.stderr.splitlines()] == [
        ["Cannot", "start:", "PORT"],
        ["Cannot", "start:", "VOICE_NAMES"],
    ]


def test_a_checkpoint_of_another_variant_or_without_a_config_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "base/config.json").write_text('{"tts_model_type": "base"}')
    found = problems(monkeypatch, {"CUSTOM_VOICE_MODEL_ID": "./base", "BASE_MODEL_ID": "./empty", "MODEL_ID": "./base"})
    assert found == [
        "CUSTOM_VOICE_MODEL_ID is './base'; it must be a custom_voice checkpoint, and this is a base one.",
        "BASE_MODEL_ID is './empty'; it must be a checkpoint folder, and this one has no config.json.",
    ]


@pytest.mark.parametrize(
    ("voice", "more"),
    [
        ("Vivian", {}),
        ("alloy", {}),
        ("heart", {"DEFAULT_MODEL": "hibari"}),
        ("house", {"VOICE_NAMES": '{"house": "serena"}'}),
        ("anna", {}),
        ("anna(2)+voice_" + "a" * 32, {}),
        ("only-the-model-knows", {"CUSTOM_VOICE_MODEL_ID": "me/my-voices"}),
        ("only-the-model-knows", {"DEFAULT_MODEL": "mine", "MODEL_NAMES": '{"my-model": "mine"}'}),
    ],
)
def test_a_default_voice_may_be_built_in_mapped_stored_or_blended(
    voice: str, more: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stored = tmp_path / "voices/voices" / f"voice_{'a' * 32}"
    stored.mkdir(parents=True)
    metadata = {"name": "Anna", "created_ns": 1, "type": "audio_sample", "ref_key": "k", "has_transcript": False}
    (stored / METADATA).write_text(json.dumps({**metadata, "files": {}}))
    assert problems(monkeypatch, {"DEFAULT_VOICE": voice, **more}) == []


def test_a_name_that_means_no_voice_yet_is_a_warning_since_one_may_be_stored_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    warn(read_settings(voice_names={"house": "serena", "other": "nobody"}))
    [record] = caplog.records
    assert "VOICE_NAMES refers to 'nobody', which is not a voice yet" in record.getMessage()


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
def test_what_may_not_be_looked_at_is_a_sentence_and_no_traceback(tmp_path: Path) -> None:
    """A voices folder and a checkpoint inside a folder of root's, seen by the containers' user."""
    environment = {
        **bare_environment(tmp_path),
        "VOICES_FOLDER": "/root/voices",
        "MODEL_ID": "/root/model",
        "PORT": "x",
    }
    command = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", sys.executable, "-m", "openai_frontend"]
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=60)
    lines = done.stderr.splitlines()
    assert [line.split()[2] for line in lines if line.startswith("Cannot start: ")] == ["PORT", "MODEL_ID"]
    assert "Traceback" not in done.stderr


def test_a_voices_folder_that_is_a_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    [sentence] = problems(monkeypatch, {"VOICES_FOLDER": "file"})
    assert sentence == "VOICES_FOLDER is 'file'; it must be a folder, and a file is in its place."


@pytest.mark.parametrize("folder", ["/proc/voices", "/proc/self/voices/deep"])
def test_a_voices_folder_that_cannot_be_written_is_a_warning(folder: str, caplog: pytest.LogCaptureFixture) -> None:
    warn(read_settings(voices_folder=folder))
    [record] = caplog.records
    assert f"VOICES_FOLDER is '{folder}', which user {os.getuid()} cannot write" in record.getMessage()


def test_the_default_settings_are_right(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    warn(read_settings())
    assert not caplog.records


def test_a_misspelled_variable_stops_the_start_and_the_right_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(monkeypatch, {"IDLE_TIMOUT": "5", "MODLE_ID": "x", "API_KEYS_FLIE": "y"}) == [
        "API_KEYS_FLIE is not a setting. Did you mean API_KEYS_FILE? Rename or unset it.",
        "IDLE_TIMOUT is not a setting. Did you mean IDLE_TIMEOUT? Rename or unset it.",
        "MODLE_ID is not a setting. Did you mean MODEL_ID? Rename or unset it.",
    ]


def test_variables_of_other_programs_are_not_taken_for_misspelled_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = ("HOME", "HOSTNAME", "LANG", "PATH", "POST", "PWD", "SHELL", "TERM", "USER", "PYTHONPATH", "HF_HOME")
    cluster = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_PORT", "TRITON_PORT", "TRITON_SERVICE_PORT_HTTP", "SPEECH_PORT")
    assert not problems(monkeypatch, dict.fromkeys((*ordinary, *cluster, "STEP_TIMEOUT", "MODEL_DIR"), "1"))


def test_a_profile_is_above_the_defaults_and_below_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROFILE", "shared-gpu")
    monkeypatch.setenv("QUEUE_TIMEOUT", "5")
    settings = read_settings(max_connections=7)
    assert (settings.idle_timeout, settings.max_loaded_models) == (60, 1)
    assert (settings.queue_timeout, settings.max_connections, settings.port) == (5, 7, 8101)


def test_every_profile_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROFILES:
        assert problems(monkeypatch, {"PROFILE": name}) == []
    [sentence] = problems(monkeypatch, {"PROFILE": "laptop"})
    assert sentence == "PROFILE is 'laptop'; it must be one of single-gpu, shared-gpu, fleet, cpu."


def test_show_settings_prints_each_value_and_its_origin_and_no_secret(tmp_path: Path) -> None:
    environment = {**bare_environment(tmp_path), "PROFILE": "cpu", "PORT": "9000", "API_KEYS": "sk-secret"}
    command = [sys.executable, "-m", "openai_frontend", "--show-settings"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    shown = {line.split("=")[0]: " ".join(line.split()) for line in done.stdout.splitlines() if "=" in line}
    assert shown["PORT"] == "PORT=9000 # environment"
    assert shown["MAX_LOADED_MODELS"] == "MAX_LOADED_MODELS=1 # profile cpu"
    assert shown["HOST"] == "HOST=127.0.0.1 # default"
    assert shown["API_KEYS"] == "API_KEYS=*** # environment"
    assert set(shown) == {name.upper() for name in Settings.model_fields}
