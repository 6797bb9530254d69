"""The calls of Triton's HTTP API that the supervisor needs, each with a short time-out."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Final

_ACTIVE: Final = re.compile(
    r'^tts_engine_active_rows\{[^}]*model="(?P<model>[^"]*)"[^}]*\} (?P<rows>\S+)$', re.MULTILINE
)


class TritonClient:
    """One tritonserver. `headers` go with every call; every method but `begin_load` raises OSError or ValueError if
    it does not answer."""

    def __init__(self, url: str, metrics_url: str, headers: Mapping[str, str], timeout_s: float = 3.0) -> None:
        self._url = url.rstrip("/")
        self._metrics_url = metrics_url
        self._headers = dict(headers)
        self._timeout_s = timeout_s

    def states(self) -> dict[str, str]:
        """Each model's state in the repository index; empty for a model that was never loaded."""
        rows = json.loads(self._call(f"{self._url}/v2/repository/index", b"{}"))
        return {row["name"]: row.get("state", "") for row in rows}

    def active_models(self) -> set[str]:
        """The models that are synthesizing, according to the engines' own gauges."""
        text = self._call(self._metrics_url).decode(errors="replace")
        return {match["model"] for match in _ACTIVE.finditer(text) if float(match["rows"])}

    def begin_load(self, model: str) -> None:
        """Start a load without waiting for it: Triton continues it when the caller disconnects."""
        try:
            self._call(f"{self._url}/v2/repository/models/{model}/load", b"{}")
        except (OSError, ValueError):
            return

    def _call(self, url: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(url, data=body, headers=self._headers)
        with _DIRECT.open(request, timeout=self._timeout_s) as reply:
            return bytes(reply.read())


# Triton is on this machine: never use a proxy of the environment.
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
