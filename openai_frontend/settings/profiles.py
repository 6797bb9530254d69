"""Presets for kinds of deployments; they override defaults, and the environment overrides them."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

# The reasons are in docs/settings.md.
PROFILES: Final[Mapping[str, Mapping[str, Any]]] = {
    "single-gpu": {"idle_timeout": 0, "restart_timeout": 60, "queue_timeout": 60},
    "shared-gpu": {"idle_timeout": 60, "max_loaded_models": 1, "queue_timeout": 60},
    "fleet": {
        "idle_timeout": 0,
        "unload_on_stop": False,
        "start_timeout": 300,
        "stop_timeout": 120,
        "max_active_requests": 64,
        "log_format": "json",
    },
    "cpu": {"default_model": "hibari", "max_loaded_models": 1, "max_pending_requests": 64, "request_timeout": 600},
}


class ProfileSource(PydanticBaseSettingsSource):
    """The values of the profile that the arguments or the environment select; none without a profile."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(PROFILES.get(self.current_state.get("profile") or "", {}))
