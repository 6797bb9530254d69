"""Locates a checkpoint's files, checks that they are complete, and reads its configuration. No torch, no weights."""

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from speech_engines.qwen3_tts.checkpoint.files import PATTERNS, missing_files
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.languages import LANGUAGES
from speech_protocol.models import ModelSpec, Task, checkpoint_of

CODEC: Final = "qwen3_tts_tokenizer_12hz"
# Time-out for the hub's first answer; a download itself has no limit.
HUB_TIMEOUT_S: Final = 10.0
_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with all files of a checkpoint. `name` is its name in the settings."""

    name: str
    folder: Path
    config: dict[str, Any]

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of the checkpoint, by the wire's names."""
        known = self.config["talker_config"]["codec_language_id"]
        return tuple(language for language in LANGUAGES if language in known)

    @property
    def speakers(self) -> tuple[str, ...]:
        """The built-in speakers of the checkpoint."""
        return tuple(self.config["talker_config"]["spk_id"])

    @property
    def supports_instructions(self) -> bool:
        """The 0.6B checkpoints with built-in speakers were not trained on instructions."""
        return bool(self.config["tts_model_size"] != "0b6")


def open_checkpoint(spec: ModelSpec, environment: Mapping[str, str]) -> Checkpoint:
    """Locate the checkpoint that `spec` serves in this environment, and download it if necessary. Raises
    SpeechError."""
    name = checkpoint_of(spec, environment)
    variable = _variable(spec, name, environment)
    folder = Path(name) if Path(name).is_dir() else hub_folder(name, variable, environment)
    try:
        missing = missing_files(folder)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise _unavailable(f"An index of the weights of {name} can't be read: {type(error).__name__}.") from None
    if missing:
        raise _unavailable(f"{name} lacks {', '.join(missing)}. Set {variable} to a folder with every file.")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unavailable(f"The config.json of {name} can't be read: {type(error).__name__}.") from None
    _check_kind(name, config, spec, variable)
    return Checkpoint(name, folder, config)


def _unavailable(message: str) -> SpeechError:
    return SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, message)


def _variable(spec: ModelSpec, name: str, environment: Mapping[str, str]) -> str:
    """The variable that set the checkpoint, or the one to set if there was none."""
    own, shared = spec.checkpoint_variable, environment.get("MODEL_ID")
    if environment.get(own) or (shared and shared != name):
        return own
    return "MODEL_ID" if shared else f"MODEL_ID or {own}"


def _check_kind(name: str, config: Any, spec: ModelSpec, variable: str) -> None:
    """Reject anything but a Qwen3-TTS checkpoint with the 12 Hz codec, of the variant that `spec` serves."""
    fields = config if isinstance(config, dict) else {}
    kind = fields.get("tts_model_type")
    if fields.get("model_type") != "qwen3_tts" or fields.get("tokenizer_type") != CODEC or kind not in tuple(Task):
        message = f"{name} is not a Qwen3-TTS checkpoint of the 12 Hz codec. Set {variable} to one."
        raise SpeechError(ErrorCode.WRONG_CHECKPOINT, message)
    if kind != spec.task:
        message = (
            f"{name} is a {kind} checkpoint, but {spec.name} serves {spec.task} ones. "
            f"Set {spec.checkpoint_variable} to such a checkpoint, like {spec.default_checkpoint}."
        )
        raise SpeechError(ErrorCode.WRONG_CHECKPOINT, message)


def hub_folder(
    name: str,
    variable: str,
    environment: Mapping[str, str],
    missing: Callable[[Path], list[str]] = missing_files,
    patterns: Sequence[str] = PATTERNS,
) -> Path:
    """The snapshot of a hub id: from the cache if it is complete, so that loading needs no network; otherwise
    downloaded. Raises SpeechError."""
    from huggingface_hub import snapshot_download

    if not _HUB_ID.fullmatch(name):
        raise _unavailable(f"There is no folder {name}. Set {variable} to a checkpoint folder or a hub id.")
    cache = _hub_cache(environment)
    cached = _attempt(lambda: snapshot_download(name, cache_dir=cache, local_files_only=True))
    if isinstance(cached, str) and _attempt(lambda: missing(Path(cached))) == []:
        return Path(cached)
    problem = _hub_problem(name, environment)
    if problem is None:
        downloaded = _attempt(lambda: snapshot_download(name, cache_dir=cache, allow_patterns=list(patterns)))
        if isinstance(downloaded, str):
            return Path(downloaded)
        problem = f"the download failed ({type(downloaded).__name__})"
    raise _unavailable(
        f"{name} is not on this machine, and {problem}. Set {variable} to a checkpoint folder, copy a snapshot into "
        "the cache (HF_HOME), or let this machine reach the Hugging Face hub."
    ) from None


def _hub_cache(environment: Mapping[str, str]) -> str | None:
    """The cache folder from the environment; None for the library's default."""
    if cache := environment.get("HF_HUB_CACHE"):
        return cache
    home = environment.get("HF_HOME")
    return str(Path(home).expanduser() / "hub") if home else None


def _hub_problem(name: str, environment: Mapping[str, str]) -> str | None:
    """Why `name` is unavailable on the hub, or None. Bounded in time by a separate thread, since neither DNS resolution
    nor trying several addresses respects a time-out."""
    from huggingface_hub import errors, model_info

    if environment.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE is set"
    answers: list[object] = []
    asker = threading.Thread(
        target=lambda: answers.append(_attempt(lambda: model_info(name, timeout=HUB_TIMEOUT_S))), daemon=True
    )
    asker.start()
    asker.join(HUB_TIMEOUT_S)
    match answers:
        case [errors.GatedRepoError()]:
            return "the hub requires that you accept its terms there and set HF_TOKEN"
        case [errors.RepositoryNotFoundError()]:
            return "the hub has no such checkpoint, or a private one (set HF_TOKEN)"
        case [errors.OfflineModeIsEnabled()]:
            return "HF_HUB_OFFLINE is set"
        case [errors.HFValidationError()]:
            return "it is no valid hub id"
        case [] | [OSError()]:
            return "the Hugging Face hub can't be reached"
    return None


def _attempt(call: Callable[[], object]) -> object:
    """The result of `call`, or its failure: files, network and hub with an OSError, an invalid id with a ValueError."""
    try:
        return call()
    except (OSError, ValueError) as error:
        return error
