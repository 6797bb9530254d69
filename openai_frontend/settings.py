"""Every setting of the frontend, read from the environment once and frozen.

Each field is the environment variable of its name in capitals: `idle_timeout` is `IDLE_TIMEOUT`. `MODEL_ID`,
`IDLE_TIMEOUT`, `REQUEST_TIMEOUT` and `PORT` mean what they meant in the single-file server.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from openai_frontend.observability.logs import LogFormat
from speech_protocol.models import (
    MODELS,
    QWEN3_TTS_CUSTOM_VOICE,
    QWEN3_TTS_VOICE_DESIGN,
    Task,
    checkpoint_of,
    task_of_checkpoint,
)


def _names(value: Any) -> Any:
    try:
        names = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        names = None
    if not isinstance(names, dict) or not all(isinstance(meant, str) for meant in names.values()):
        raise ValueError('a JSON object of names, such as \'{"my-name": "its-meaning"}\'')
    return names


def _address(value: str) -> str:
    try:
        parts = urlsplit(value)
        right = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none
        right = False
    if value and not right:
        raise ValueError("an address with its scheme, such as 'http://127.0.0.1:8000'")
    return value


# The message of a ValueError goes on from "it must be" (startup.py).
Names = Annotated[dict[str, str], NoDecode, BeforeValidator(_names)]
Address = Annotated[str, AfterValidator(_address)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]
Count = Annotated[int, Field(ge=1)]
Limit = Annotated[int, Field(ge=0)]
# As many as an engine queues by default, so that its queue is not full before ours.
_SHARED_ACTIVE = 64


class Settings(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, env_ignore_empty=True)

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every network interface."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 8101
    """Port of the OpenAI API."""
    triton_url: Address = "http://127.0.0.1:8000"
    """Where tritonserver answers HTTP."""
    triton_control_key: SecretStr | None = None
    """The key of Triton's inference and model control, where they are restricted; `make serve` makes one."""
    triton_control_key_file: str = ""
    """A file with that key; the containers share one that Triton's makes."""
    model_id: str = QWEN3_TTS_CUSTOM_VOICE.default_checkpoint
    """Qwen3-TTS checkpoint, a hub id or a folder; it goes to the Triton model of its variant."""
    custom_voice_model_id: str = ""
    """Checkpoint with built-in speakers, where it is not `MODEL_ID`."""
    base_model_id: str = ""
    """Checkpoint that clones voices, where it is not `MODEL_ID`."""
    voice_design_model_id: str = ""
    """Checkpoint that makes voices from descriptions, where it is not `MODEL_ID`."""
    default_model: str = ""
    """Triton model behind `tts-1`, `gpt-4o-mini-tts` and requests without a model; empty: the variant of `MODEL_ID`."""
    model_names: Names = {}
    """More public model names as JSON, each with the Triton model it means."""
    unavailable_models: Names = {}
    """Triton models that can't be loaded here, as JSON, each with the reason; `make serve` lists Qwen3-TTS's."""
    default_voice: str = "vivian"
    """Voice of a request that names none."""
    voice_names: Names = {}
    """Public voice names as JSON, each with the speaker, voice or blend that it means; they win over all others."""
    voices_folder: str = "voices"
    """Folder of cloned and designed voices and of consents, made when the first is stored."""
    max_voices: Count = 1000
    """Cloned and designed voices kept at most, and as many consents."""
    max_voices_bytes: Count = 2**30
    """Bytes of all these recordings together, at most."""
    voices_shared: bool = False
    """True: all API keys share all voices and consents; else each key has its own. Without keys, all are shared."""
    require_consent: bool = False
    """True: a voice is cloned from a recording only with the id of a stored consent."""
    default_response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm", "ogg"] = "mp3"
    """Format of a request that names none; the single-file server's was wav."""
    whole_wav_seconds: Annotated[float, Field(ge=0, le=600)] = 0
    """A wav of up to so many seconds is sent when it is complete, with its true sizes; 0 streams each, without them."""
    max_leading_silence: Annotated[float, Field(ge=0, le=10)] = 0.1
    """Seconds of silence that a reply may begin with, so that it is heard sooner; 10 cuts nothing off."""
    idle_timeout: Seconds = 120
    """Seconds without a request after which a model is unloaded; 0 keeps it for ever."""
    request_timeout: Seconds = 300
    """Seconds a request waits for its first audio, and then for each next chunk, before it fails with 504."""
    stop_timeout: Annotated[int, Field(ge=0, le=3600)] = 30
    """Seconds that streams under way get to finish when the server is told to stop."""
    unload_on_stop: bool = True
    """The models that this frontend used are unloaded when it stops; false where others use the same Triton."""
    keep_loaded: str = ""
    """Triton models that are loaded at the start and never unloaded, separated by commas."""
    warm_standby: str = ""
    """Triton models whose weights stay in the host's memory while they are unloaded, separated by commas."""
    max_loaded_models: Limit = 0
    """Models loaded at once; for one more, the one that was not used for longest is unloaded; 0: any number."""
    gpu_memory_budget_gb: Annotated[float, Field(ge=0)] = 0
    """GPU memory of all loaded models together, in GiB, kept in the same way; 0: no bound."""
    send_timeout: Seconds = 300
    """Seconds after which a client that takes nothing of what is sent to it is hung up on (Linux); 0: never."""
    max_connections: Count = 1000
    """Connections at once, fewer where fewer files may be open; for one more, the oldest idle one is closed."""
    header_timeout: Seconds = 10
    """Seconds in which a new connection must send the headers of its request, and a kept one after the first byte."""
    body_timeout: Seconds = 30
    """Seconds that a request's body may pause, and that it may take in all beyond one for every 32 KiB."""
    load_timeout: Seconds = 900
    """Seconds a load may take; the first one of a hub id includes its download."""
    restart_timeout: Seconds = 30
    """Seconds that requests without audio yet wait for a Triton that was there and is gone; 0: they fail at once."""
    start_timeout: Seconds = 0
    """Seconds that requests wait for a Triton that is not there, such as one scaled to zero; 0: they fail at once."""
    max_input_chars: Annotated[int, Field(ge=1, le=1_000_000)] = 100_000
    """Longest `input`, in characters, at most a million; OpenAI's own limit is 4096."""
    text_cleanup: Literal["off", "markdown"] = "off"
    """`markdown` reads the input as Markdown: marks, code blocks and emoji are not spoken, an address is its host."""
    max_audio_seconds: Annotated[float, Field(gt=0, le=3600)] = 600
    """Longest audio of one segment, in seconds at speed 1; it ends there. A long input has many segments."""
    max_upload_bytes: Count = 10 * 1024 * 1024
    """Largest recording that may be uploaded, in bytes; its request may be a third larger, for base64, plus 1 MiB."""
    max_body_memory: Count = 256 * 1024 * 1024
    """Bytes of all request bodies that are held at once, until their replies begin; beyond it they get 503."""
    max_pending_requests: Count = 256
    """Maximum speech requests in flight, queued ones included; further ones get 503. API keys share these places."""
    admin_key: SecretStr | None = None
    """The bearer token of the `/admin` routes, which load and unload models; none: there are no such routes."""
    max_active_requests: Limit | None = None
    """Maximum requests synthesized at once; the rest queue, round-robin by key. 0: any; unset: 0, or 64 with keys."""
    queue_timeout: Seconds = 30
    """Seconds after which a queued request, or one whose model finds no memory, gets 503; 0: never."""
    api_keys: SecretStr | None = None
    """Keys that clients send as `Authorization: Bearer`, separated by commas; without any, no key is asked for."""
    api_keys_file: str = ""
    """A file with more keys, one a line, `#` before a comment; read once at the start."""
    open_lists: bool = True
    """The lists of models, voices and languages need no key: Open WebUI, for one, asks for them without."""
    requests_per_minute: Limit = 0
    """POST requests a minute that a key may send, 0 for any number; without keys, everybody together."""
    characters_per_minute: Limit = 0
    """Characters of `input` a minute that a key may have spoken, 0 for any number; without keys, everybody together."""
    cors_origins: str = ""
    """Origins whose pages may call this server, such as `https://app.example`, separated by commas."""
    allowed_hosts: str = ""
    """Host names that requests may be for, such as `tts.example, *.lan`, or `*`; empty: any, or on loopback its own."""
    ref_audio_hosts: str = ""
    """Hosts that a `ref_audio` address may be fetched from, as `host` or `host:port`, separated by commas."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error."""
    otel_exporter_otlp_endpoint: Address = ""
    """Where an OpenTelemetry collector takes spans over HTTP, such as `http://collector:4318`; empty: none are made."""
    log_format: LogFormat = "auto"
    """`json`, a line of JSON each, `text`, or `auto`: text on a terminal, else JSON."""

    @model_validator(mode="after")
    def _keys_are_there(self) -> Self:
        # Now, not at the first request: a server that is meant to be closed must not start open.
        try:
            keys = self.keys()
        except (OSError, UnicodeDecodeError) as error:
            message = f"API_KEYS_FILE, '{self.api_keys_file}', cannot be read: {type(error).__name__}."
            raise ValueError(message) from None
        if (self.api_keys or self.api_keys_file) and not keys:
            raise ValueError("API_KEYS or API_KEYS_FILE is set, but holds no key.")
        return self

    def control_key(self) -> str:
        """What opens Triton's model control; empty where nothing has to."""
        if self.triton_control_key is not None:
            return self.triton_control_key.get_secret_value()
        return Path(self.triton_control_key_file).read_text("ascii").strip() if self.triton_control_key_file else ""

    def active_limit(self) -> int:
        """`max_active_requests`, or what it is where it is not set; 0 for no limit."""
        if self.max_active_requests is None:
            return _SHARED_ACTIVE if len(self.keys()) > 1 else 0
        return self.max_active_requests

    def kept(self) -> tuple[str, ...]:
        """The Triton models of `keep_loaded`."""
        return _listed(self.keep_loaded)

    def standby(self) -> tuple[str, ...]:
        """The Triton models of `warm_standby`."""
        return _listed(self.warm_standby)

    def standby_checkpoints(self) -> tuple[str, ...]:
        """The checkpoints of the models of `warm_standby`."""
        checkpoints = self.checkpoints()
        return tuple(checkpoints[name] for name in self.standby() if name in checkpoints)

    def origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins`."""
        return tuple(origin.rstrip("/") for origin in _listed(self.cors_origins))

    def hosts(self) -> tuple[str, ...]:
        """The host names of `allowed_hosts`."""
        return _listed(self.allowed_hosts)

    @property
    def max_body_bytes(self) -> int:
        """The bound on every request body."""
        return self.max_upload_bytes * 4 // 3 + 2**20

    def keys(self) -> tuple[str, ...]:
        """Every API key; none means that no key is asked for."""
        given = self.api_keys.get_secret_value().split(",") if self.api_keys else []
        lines = Path(self.api_keys_file).read_text(encoding="utf-8").splitlines() if self.api_keys_file else []
        keys = [*given, *(line.partition("#")[0] for line in lines)]
        return tuple(dict.fromkeys(key.strip() for key in keys if key.strip()))

    def checkpoints(self) -> dict[str, str]:
        """Triton model to the checkpoint it serves."""
        environment = {name.upper(): value for name, value in self.model_dump().items() if isinstance(value, str)}
        return {name: checkpoint_of(spec, environment) for name, spec in MODELS.items()}

    def main_model(self) -> str:
        """The Triton model of requests that name no particular one."""
        if self.default_model:
            return self.default_model
        design = task_of_checkpoint(self.model_id) is Task.VOICE_DESIGN
        return (QWEN3_TTS_VOICE_DESIGN if design else QWEN3_TTS_CUSTOM_VOICE).name


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
