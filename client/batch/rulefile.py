"""TOML rule files: read once, and rejected with a clear message if a name or a value is invalid."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .failures import InputError


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file. Raises InputError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text.") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not TOML: {error}.") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}.") from None


def table(path: Path, name: str, value: object) -> dict[str, Any]:
    """The value as a table. Raises InputError for another type."""
    if not isinstance(value, dict):
        raise InputError(f"{path}: '{name}' has to be a table, [{name}].")
    return value


def text(path: Path, name: str, value: object) -> str:
    """The value as a non-empty string, stripped. Raises InputError."""
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{path}: '{name}' has to be a text in quotes.")
    return value.strip()


def texts(path: Path, name: str, value: object) -> dict[str, str]:
    """A table of texts."""
    return {key: text(path, f"{name}.{key}", each) for key, each in table(path, name, value).items()}


def only(path: Path, values: Mapping[str, object], known: Iterable[str], where: str = "the file") -> None:
    """Raise InputError for an unknown name."""
    known = list(known)
    if unknown := next((name for name in values if name not in known), None):
        raise InputError(f"{path}: {where} has no '{unknown}'; it has {', '.join(known)}.")
