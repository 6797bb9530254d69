"""Reads and checks the settings at startup: reports all problems at once, in one sentence each."""

import logging
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from openai_frontend.errors import ApiError
from openai_frontend.settings import Settings
from openai_frontend.settings.groups import GROUPS
from openai_frontend.settings.variables import misspelled
from openai_frontend.voices.blend import is_blend, parse_blend
from openai_frontend.voices.names import OPENAI_VOICES, SPEAKERS, fold
from openai_frontend.voices.records import Voice
from openai_frontend.voices.store import Store
from speech_protocol.models import (
    HIBARI,
    MODELS,
    QWEN3_TTS,
    QWEN3_TTS_CUSTOM_VOICE,
    SPEECH_BATCH,
    speakers_of_checkpoint,
    task_of_checkpoint,
)
from speech_protocol.speakers import HIBARI_SPEAKERS

logger = logging.getLogger(__name__)

_HUB_ID: Final = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}")
_KEYS: Final = ("api_keys", "api_keys_file")
_LISTED: Final = 40  # names in a sentence


class SettingsProblem(Exception):  # noqa: N818 - a problem of the settings, not an error of the program
    """`sentences` has one for each invalid setting: its variable, its value, and the allowed values."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences


def read_settings(**given: Any) -> Settings:
    """The settings of the environment, overridden by those in `given`. Raises SettingsProblem."""
    problems: dict[str, str] = {}
    settings = _parsed(given, problems)
    for name, sentence in _checks(settings):
        problems.setdefault(name, sentence)
    unknown = [
        f"{variable} is not a setting. Did you mean {name}? Rename or unset it."
        for variable, name in misspelled(variable for variable, value in os.environ.items() if value)
    ]
    if problems or unknown:
        order = [name for group in GROUPS.values() for name in group.model_fields]
        sentences = [problems[name] for name in sorted(problems, key=order.index)]
        raise SettingsProblem([*unknown, *sentences])
    return settings


def warn(settings: Settings) -> None:
    """Log warnings at startup about settings that do not work yet, such as a voice that is not stored."""
    known = _known_voices(settings)
    meant = dict.fromkeys(settings.voice_names.values())
    if known is not None and (unknown := [voice for voice in meant if not _is_voice(voice, known)]):
        voices = ", ".join(map(repr, unknown))
        logger.warning("VOICE_NAMES refers to %s, which is not a voice yet: requests fail until it is stored.", voices)
    folder = Path(settings.voices_folder)
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        logger.warning(
            "VOICES_FOLDER is '%s', which user %d cannot write (%s): no voice or consent can be stored. Give that user "
            "the folder (chown), or set VOICES_FOLDER to another one.",
            *(folder, os.getuid(), error.strerror),
        )


def _parsed(given: dict[str, Any], problems: dict[str, str]) -> Settings:
    """The settings, each invalid one replaced by its default and described in `problems`, so that the others are
    checked, too."""
    replaced: dict[str, Any] = {}
    while True:
        try:
            return Settings(**{**given, **replaced})
        except ValidationError as error:
            for each in error.errors():
                # An error of the settings as a whole is about the keys.
                name = str(each["loc"][0]) if each["loc"] else _KEYS[1]
                problems.setdefault(name, _sentence(name, each) if each["loc"] else str(each["ctx"]["error"]))
                names = (name,) if each["loc"] else _KEYS
                defaults = {name: Settings.model_fields[name].get_default(call_default_factory=True) for name in names}
                if replaced.items() >= defaults.items():
                    raise  # an invalid default is a bug
                replaced |= defaults


def _sentence(name: str, error: Any) -> str:
    field = Settings.model_fields[name]
    allowed = str(error["ctx"]["error"]) if error["type"] == "value_error" else _allowed(field)
    return _wrong(name, error["input"], allowed)


def _wrong(name: str, value: object, allowed: str) -> str:
    # A secret's value stays out of the log.
    secret = isinstance(value, SecretStr) or "SecretStr" in str(Settings.model_fields[name].annotation)
    return f"{name.upper()} is {'not valid' if secret else repr(str(value))}; it must be {allowed}."


def _allowed(field: FieldInfo) -> str:
    """The allowed values of a field in words, from its type and limits."""
    kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if get_origin(kind) is Literal]
    if kinds:  # Literal, or Literal | None
        return f"one of {', '.join(get_args(kinds[0]))}"
    if field.annotation is bool:
        return "true or false"
    if field.annotation not in (int, float):
        return "a text"
    kind = "a whole number" if field.annotation is int else "a number"
    bounds = {key: getattr(each, key) for each in field.metadata for key in ("ge", "gt", "le") if hasattr(each, key)}
    low = f"above {bounds['gt']}" if "gt" in bounds else f"of at least {bounds.get('ge', 0)}"
    return f"{kind} {low}" + (f" and at most {bounds['le']}" if "le" in bounds else "")


def _checks(settings: Settings) -> Iterator[tuple[str, str]]:
    """Field and sentence for each setting that refers to something that does not exist."""
    yield from _check_models(settings)
    yield from _check_checkpoints(settings)
    yield from _check_files(settings)
    yield from _check_voices(settings)


def _check_models(settings: Settings) -> Iterator[tuple[str, str]]:
    models = tuple(dict.fromkeys((*MODELS, *settings.model_names.values())))
    if settings.default_model and settings.default_model not in models:
        allowed = f"one of {', '.join(models)}, or a Triton model that MODEL_NAMES names"
        yield "default_model", _wrong("default_model", settings.default_model, allowed)
    for field, names, known in (
        ("keep_loaded", settings.kept(), (*models, SPEECH_BATCH)),
        ("warm_standby", settings.standby(), tuple(spec.name for spec in QWEN3_TTS)),
    ):
        if unknown := [name for name in names if name not in known]:
            allowed = f"some of {', '.join(known)}, separated by commas"
            yield field, _wrong(field, ", ".join(unknown), allowed)
    if 0 < settings.max_loaded_models < len(settings.kept()):
        allowed = f"0, or at least {len(settings.kept())}, as many as KEEP_LOADED names"
        yield "max_loaded_models", _wrong("max_loaded_models", settings.max_loaded_models, allowed)


def _check_checkpoints(settings: Settings) -> Iterator[tuple[str, str]]:
    own = [(spec.checkpoint_variable.lower(), spec.task) for spec in QWEN3_TTS]
    for field, task in (("model_id", None), *own):
        checkpoint = getattr(settings, field)
        if not checkpoint:
            continue
        # os.path, unlike pathlib, treats a path without permission as absent.
        if os.path.isdir(checkpoint):
            if not os.path.isfile(os.path.join(checkpoint, "config.json")):
                yield field, _wrong(field, checkpoint, "a checkpoint folder, and this one has no config.json")
            elif task and (found := task_of_checkpoint(checkpoint)) is not task:
                yield field, _wrong(field, checkpoint, f"a {task} checkpoint, and this is a {found} one")
        elif checkpoint.startswith(("/", ".", "~")) or not _HUB_ID.fullmatch(checkpoint):
            allowed = "a folder that this process can see, or a hub id such as 'Qwen/Qwen3-TTS-12Hz-0.6B-CustomVoice'"
            yield field, _wrong(field, checkpoint, allowed)


def _check_files(settings: Settings) -> Iterator[tuple[str, str]]:
    try:
        if settings.triton_control_key_file and not settings.control_key():
            raise ValueError
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is empty or not ASCII"
        allowed = f"a file with the key, and that cannot be read: {reason}"
        file = settings.triton_control_key_file
        yield "triton_control_key_file", _wrong("triton_control_key_file", file, allowed)
    folder = Path(settings.voices_folder)
    if any(os.path.exists(path) and not os.path.isdir(path) for path in (folder, *folder.parents)):
        yield "voices_folder", _wrong("voices_folder", folder, "a folder, and a file is in its place")


def _check_voices(settings: Settings) -> Iterator[tuple[str, str]]:
    known = _known_voices(settings)
    if known is None:
        return
    default = settings.default_voice
    changed = default != Settings.model_fields["default_voice"].default
    if changed and not _is_voice(default, [*known, *settings.voice_names]):
        listed = ", ".join(known[:_LISTED]) + (", …" if len(known) > _LISTED else "")
        allowed = f"one of {listed}, or a blend of stored voices such as 'anna(2)+bob(1)'"
        yield "default_voice", _wrong("default_voice", default, allowed)


def _is_voice(voice: str, known: Iterable[str]) -> bool:
    names = {fold(name) for name in known}
    if fold(voice) in names or not is_blend(voice):
        return fold(voice) in names
    try:
        return all(fold(part.name) in names for part in parse_blend(voice))
    except ApiError:
        return False


def _known_voices(settings: Settings) -> list[str] | None:
    """Every known voice name; None if a model may have speakers that are unknown before it is loaded."""
    checkpoint = settings.checkpoints()[QWEN3_TTS_CUSTOM_VOICE.name]
    own = speakers_of_checkpoint(checkpoint) or ()
    is_another_one = _HUB_ID.fullmatch(checkpoint) and not checkpoint.startswith("Qwen/") and not own
    if is_another_one or settings.main_model() in settings.model_names.values():
        return None
    embedded = tuple(speaker.name for speaker in HIBARI_SPEAKERS) if settings.main_model() == HIBARI.name else ()
    folder = Path(settings.voices_folder)
    stored: list[str] = []
    with suppress(ApiError, OSError):  # an unreadable folder has no usable voices
        entries = Store(folder / "voices", "voice_", folder / ".lock", Voice.from_metadata).entries()
        stored = [*(voice.name for voice in entries.values()), *entries]
    speakers = (speaker.name for speaker in SPEAKERS)
    return list(dict.fromkeys((*speakers, *OPENAI_VOICES, *own, *embedded, *stored)))
