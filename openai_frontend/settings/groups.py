"""The fields of the settings, in groups. Each is the environment variable of its name in capitals."""

import json
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from openai_frontend.observability.logs import LogFormat
from speech_protocol.models import QWEN3_TTS_CUSTOM_VOICE


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
        valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # an invalid port
        valid = False
    if value and not valid:
        raise ValueError("an address with its scheme, such as 'http://127.0.0.1:8000'")
    return value


# The message of a ValueError continues "it must be" (startup.py).
Names = Annotated[dict[str, str], NoDecode, BeforeValidator(_names)]
Address = Annotated[str, AfterValidator(_address)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]
Count = Annotated[int, Field(ge=1)]
Limit = Annotated[int, Field(ge=0)]
ProfileName = Literal["single-gpu", "shared-gpu", "fleet", "cpu"]


class _Group(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, env_ignore_empty=True)


class ServerSettings(_Group):
    """Address, connections, time-outs and shutdown."""

    profile: ProfileName | None = None
    """Preset for a kind of deployment: `single-gpu`, `shared-gpu`, `fleet` or `cpu`; other variables override it."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every network interface."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 8101
    """Port of the OpenAI API."""
    wyoming_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Port of the Wyoming protocol, for Home Assistant, on the same address; it has no keys. 0: off."""
    live_idle_timeout: Annotated[float, Field(gt=0, le=120)] = 30
    """Seconds that an utterance whose text is still being written waits for more of it; at most 120."""
    live_append: bool = True
    """Append fast streaming text to the utterance in flight, if the model can; off: whole sentences only."""
    max_connections: Count = 1000
    """Maximum connections, fewer if the limit on open files is lower; one more closes the oldest idle one."""
    header_timeout: Seconds = 10
    """Seconds for a request's headers, from the connection or, on a kept one, from their first byte."""
    body_timeout: Seconds = 30
    """Seconds that a request's body may pause, and that it may take in all beyond one for every 32 KiB."""
    send_timeout: Seconds = 300
    """Close the connection of a client that has read nothing for this many seconds (Linux); 0: never."""
    request_timeout: Seconds = 300
    """Seconds to wait for the first audio, and then for each chunk, before a request fails with 504."""
    stop_timeout: Annotated[int, Field(ge=0, le=3600)] = 30
    """Seconds that streams in flight have to finish on shutdown."""


class ModelSettings(_Group):
    """Triton, checkpoints, and when models are loaded and unloaded."""

    triton_url: Address = "http://127.0.0.1:8000"
    """Where tritonserver answers HTTP."""
    triton_control_key: SecretStr | None = None
    """Shared secret for Triton's inference and model control, if they are restricted; `make serve` makes one."""
    triton_control_key_file: str = ""
    """File with that secret; the containers share one that Triton's container writes."""
    model_id: str = QWEN3_TTS_CUSTOM_VOICE.default_checkpoint
    """Qwen3-TTS checkpoint, a hub id or a folder; served by the Triton model that matches its variant."""
    custom_voice_model_id: str = ""
    """Checkpoint with built-in speakers, if it is not `MODEL_ID`."""
    base_model_id: str = ""
    """Checkpoint that clones voices, if it is not `MODEL_ID`."""
    voice_design_model_id: str = ""
    """Checkpoint that makes voices from descriptions, if it is not `MODEL_ID`."""
    aligner_model_id: str = ""
    """Qwen3-ForcedAligner checkpoint, for word times of Qwen3-TTS; empty: none."""
    default_model: str = ""
    """Triton model for `tts-1`, `gpt-4o-mini-tts` and requests without a model; empty: the variant of `MODEL_ID`."""
    model_names: Names = {}
    """Additional public model names as JSON, each with the Triton model that serves it."""
    unavailable_models: Names = {}
    """Triton models that can't be loaded here, as JSON, each with the reason; `make serve` lists Qwen3-TTS's."""
    idle_timeout: Seconds = 120
    """Seconds without a request after which a model is unloaded; 0: never."""
    unload_on_stop: bool = True
    """On shutdown, unload the models that this frontend has used; false if others use the same Triton."""
    keep_loaded: str = ""
    """Triton models that are loaded at the start and never unloaded, separated by commas."""
    warm_standby: str = ""
    """Triton models whose weights stay in host memory while they are unloaded, separated by commas."""
    max_loaded_models: Limit = 0
    """Maximum number of loaded models; the least recently used one is evicted for another. 0: no limit."""
    gpu_memory_budget_gb: Annotated[float, Field(ge=0)] = 0
    """GPU memory of all loaded models together, in GiB, enforced in the same way; 0: no limit."""
    load_timeout: Seconds = 900
    """Seconds a load may take; the first load of a hub id includes its download."""
    restart_timeout: Seconds = 30
    """Seconds that requests without audio yet wait for a Triton that became unreachable; 0: fail at once."""
    start_timeout: Seconds = 0
    """Seconds that requests wait for a Triton never reached before, such as one scaled to zero; 0: fail at once."""


class VoiceSettings(_Group):
    """Voice names and the library of stored voices."""

    default_voice: str = "vivian"
    """Voice of requests without one."""
    voice_names: Names = {}
    """Public voice names as JSON, each with a speaker, stored voice or blend; they override all other names."""
    voices_folder: str = "voices"
    """Folder of cloned and designed voices and of consents, created with the first one."""
    max_voices: Count = 1000
    """Maximum number of cloned and designed voices, and of consents."""
    max_voices_bytes: Count = 2**30
    """Maximum size of all these recordings together, in bytes."""
    voices_shared: bool = False
    """True: API keys share all voices and consents; false: each key has its own. Without keys, all are shared."""
    require_consent: bool = False
    """True: cloning from a recording requires the id of a stored consent."""


class TextSettings(_Group):
    """The input."""

    max_input_chars: Annotated[int, Field(ge=1, le=1_000_000)] = 100_000
    """Maximum length of `input`, in characters, up to a million; OpenAI's own limit is 4096."""
    text_cleanup: Literal["off", "markdown"] = "off"
    """`markdown` reads the input as Markdown: marks, code blocks and emoji are skipped, URLs read as host names."""


class AudioSettings(_Group):
    """The replies."""

    default_response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm", "ogg"] = "mp3"
    """Format of requests without one; the single-file server's was wav."""
    whole_wav_seconds: Annotated[float, Field(ge=0, le=600)] = 0
    """Buffer WAV replies up to this many seconds, so that the header has the real length; 0: stream all."""
    max_leading_silence: Annotated[float, Field(ge=0, le=10)] = 0.1
    """Maximum silence at the start of a reply, in seconds, so that speech starts sooner; 10: cut nothing."""
    max_audio_seconds: Annotated[float, Field(gt=0, le=3600)] = 600
    """Maximum audio of one segment, in seconds at speed 1; it is cut there. A long input has many segments."""


class LimitSettings(_Group):
    """Requests in flight, queues and memory."""

    max_pending_requests: Count = 256
    """Maximum speech requests in flight, queued ones included; further ones get 503. API keys share this limit."""
    max_active_requests: Limit | None = None
    """Maximum requests synthesized at once; the rest queue, round-robin by key. 0: any; unset: 0, or 64 with keys."""
    queue_timeout: Seconds = 30
    """Seconds after which a queued request, or one whose model finds no memory, gets 503; 0: never."""
    requests_per_minute: Limit = 0
    """POST requests a minute for each key, 0: no limit; without keys, the limit is shared by all clients."""
    characters_per_minute: Limit = 0
    """Characters of `input` a minute for each key, 0: no limit; without keys, shared by all clients."""
    max_upload_bytes: Count = 10 * 1024 * 1024
    """Maximum size of an uploaded recording, in bytes; its request may be a third larger, for base64, plus 1 MiB."""
    max_body_memory: Count = 256 * 1024 * 1024
    """Maximum memory of all request bodies, in bytes, until their replies begin; beyond it they get 503."""


class SecuritySettings(_Group):
    """API keys and the origins of requests."""

    api_keys: SecretStr | None = None
    """Keys that clients send as `Authorization: Bearer`, separated by commas; empty: no key is required."""
    api_keys_file: str = ""
    """File with more keys, one a line, `#` before a comment; read once at the start."""
    open_lists: bool = True
    """Lists of models, voices and languages require no key: Open WebUI, for one, requests them without."""
    admin_key: SecretStr | None = None
    """Bearer token of the `/admin` routes, which load and unload models; empty: these routes are disabled."""
    cors_origins: str = ""
    """Origins whose pages may call this server, such as `https://app.example`, separated by commas."""
    allowed_hosts: str = ""
    """Accepted Host headers, such as `tts.example, *.lan`, or `*`; empty: any, or on loopback its own names."""
    ref_audio_hosts: str = ""
    """Hosts that a `ref_audio` URL may be fetched from, as `host` or `host:port`, separated by commas."""


class ObservabilitySettings(_Group):
    """Logs and traces."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error."""
    log_format: LogFormat = "auto"
    """`json`: one line of JSON each, `text`, or `auto`: text on a terminal, else JSON."""
    otel_exporter_otlp_endpoint: Address = ""
    """OpenTelemetry collector for spans over HTTP, such as `http://collector:4318`; empty: no tracing."""


GROUPS: Final[dict[str, type[BaseSettings]]] = {
    "Server": ServerSettings,
    "Models": ModelSettings,
    "Voices": VoiceSettings,
    "Text": TextSettings,
    "Audio": AudioSettings,
    "Limits": LimitSettings,
    "Security": SecuritySettings,
    "Observability": ObservabilitySettings,
}
