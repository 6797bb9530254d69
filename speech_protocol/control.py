"""The key of Triton's HTTP API, which restricts loading (equivalent to running code) and inference."""

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

HEADER: Final = "triton-control-key"
VARIABLE: Final = "TRITON_CONTROL_KEY"
# The file in which `make serve` keeps the generated key, for scripts on the same machine.
FILE: Final = Path(".triton-control-key")
# Triton's call groups that run inference (`infer`, `generate`, `generate_stream`), change the server, or read its logs.
RESTRICTED: Final = ("inference", "model-repository", "shared-memory", "logging", "trace")


def read_key(environment: Mapping[str, str] = os.environ) -> str:
    """The key from the environment or the key file; empty if neither has one."""
    if key := environment.get(VARIABLE):
        return key
    try:
        return FILE.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def make_key(environment: Mapping[str, str] = os.environ) -> str:
    """The same, or a new key, written to the file (mode 0600) if possible."""
    if key := read_key(environment):
        return key
    key = secrets.token_urlsafe(32)
    with suppress(OSError):
        FILE.unlink(missing_ok=True)
        descriptor = os.open(FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(key)
    return key


def headers(key: str) -> dict[str, str]:
    """The HTTP headers of a restricted call."""
    return {HEADER: key} if key else {}
