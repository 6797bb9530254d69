"""Every setting of the frontend, read once from the environment and frozen.

`MODEL_ID`, `IDLE_TIMEOUT`, `REQUEST_TIMEOUT` and `PORT` have the same meaning as in the single-file server.
"""

from pathlib import Path
from typing import Final, Self

from pydantic import model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from openai_frontend.settings.groups import (
    AudioSettings,
    LimitSettings,
    ModelSettings,
    ObservabilitySettings,
    SecuritySettings,
    ServerSettings,
    TextSettings,
    VoiceSettings,
)
from openai_frontend.settings.profiles import ProfileSource
from speech_protocol.models import (
    MODELS,
    QWEN3_TTS_CUSTOM_VOICE,
    QWEN3_TTS_VOICE_DESIGN,
    Task,
    checkpoint_of,
    task_of_checkpoint,
)

# An engine's default MAX_QUEUE, so that its queue does not fill up before the frontend's.
_SHARED_ACTIVE: Final = 64


class Settings(
    ServerSettings,
    ModelSettings,
    VoiceSettings,
    TextSettings,
    AudioSettings,
    LimitSettings,
    SecuritySettings,
    ObservabilitySettings,
):
    """Precedence: arguments, environment, profile, default."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, ProfileSource(settings_cls)

    @model_validator(mode="after")
    def _keys_are_there(self) -> Self:
        # At startup, not at the first request: a server that requires keys must not start without them.
        try:
            keys = self.keys()
        except (OSError, UnicodeDecodeError) as error:
            message = f"API_KEYS_FILE, '{self.api_keys_file}', cannot be read: {type(error).__name__}."
            raise ValueError(message) from None
        if (self.api_keys or self.api_keys_file) and not keys:
            raise ValueError("API_KEYS or API_KEYS_FILE is set, but holds no key.")
        return self

    def control_key(self) -> str:
        """The secret for Triton's model control; empty if it is not restricted."""
        if self.triton_control_key is not None:
            return self.triton_control_key.get_secret_value()
        return Path(self.triton_control_key_file).read_text("ascii").strip() if self.triton_control_key_file else ""

    def active_limit(self) -> int:
        """`max_active_requests`, or its default; 0 for no limit."""
        if self.max_active_requests is None:
            return _SHARED_ACTIVE if len(self.keys()) > 1 else 0
        return self.max_active_requests

    def kept(self) -> tuple[str, ...]:
        """The Triton models in `keep_loaded`."""
        return _listed(self.keep_loaded)

    def standby(self) -> tuple[str, ...]:
        """The Triton models in `warm_standby`."""
        return _listed(self.warm_standby)

    def standby_checkpoints(self) -> tuple[str, ...]:
        """The checkpoints of the models in `warm_standby`."""
        checkpoints = self.checkpoints()
        return tuple(checkpoints[name] for name in self.standby() if name in checkpoints)

    def origins(self) -> tuple[str, ...]:
        """The origins in `cors_origins`."""
        return tuple(origin.rstrip("/") for origin in _listed(self.cors_origins))

    def hosts(self) -> tuple[str, ...]:
        """The host names in `allowed_hosts`."""
        return _listed(self.allowed_hosts)

    @property
    def max_body_bytes(self) -> int:
        """The maximum size of a request body."""
        return self.max_upload_bytes * 4 // 3 + 2**20

    def keys(self) -> tuple[str, ...]:
        """Every API key; none means that no key is required."""
        given = self.api_keys.get_secret_value().split(",") if self.api_keys else []
        lines = Path(self.api_keys_file).read_text(encoding="utf-8").splitlines() if self.api_keys_file else []
        keys = [*given, *(line.partition("#")[0] for line in lines)]
        return tuple(dict.fromkeys(key.strip() for key in keys if key.strip()))

    def checkpoints(self) -> dict[str, str]:
        """Triton model to the checkpoint it serves."""
        environment = {name.upper(): value for name, value in self.model_dump().items() if isinstance(value, str)}
        return {name: checkpoint_of(spec, environment) for name, spec in MODELS.items()}

    def main_model(self) -> str:
        """The Triton model for requests without a specific one."""
        if self.default_model:
            return self.default_model
        design = task_of_checkpoint(self.model_id) is Task.VOICE_DESIGN
        return (QWEN3_TTS_VOICE_DESIGN if design else QWEN3_TTS_CUSTOM_VOICE).name


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
