"""The resolved settings as text: each variable, its value and its origin."""

import json
from collections.abc import Iterable, Iterator, Mapping

from pydantic import SecretStr

from openai_frontend.settings.groups import GROUPS
from openai_frontend.settings.profiles import PROFILES
from openai_frontend.settings.settings import Settings


def report(settings: Settings, environment: Mapping[str, str]) -> str:
    """One line for each setting, in groups, in shell syntax. Secrets are masked."""
    sections = []
    for title, group in GROUPS.items():
        rows = _rows(group.model_fields, settings, environment)
        sections.append("\n".join([f"# {title}", *(f"{row:<60} # {origin}" for row, origin in rows)]))
    return "\n\n".join(sections)


def origin_of(name: str, settings: Settings, environment: Mapping[str, str]) -> str:
    """The origin of a setting's value: environment, profile or default."""
    if any(variable.upper() == name.upper() and value for variable, value in environment.items()):
        return "environment"
    if settings.profile is not None and name in PROFILES[settings.profile]:
        return f"profile {settings.profile}"
    return "default"


def _rows(names: Iterable[str], settings: Settings, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in names:
        value = getattr(settings, name)
        yield f"{name.upper()}={_shown(value)}", origin_of(name, settings, environment)


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return "***"
    if isinstance(value, dict):
        return json.dumps(value) if value else ""
    return "" if value is None else str(value)
