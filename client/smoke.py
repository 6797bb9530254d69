"""A quick check of any running server with this API: `make smoke TTS_URL=http://127.0.0.1:8101`.

Health, synthesis, voices, languages, formats and errors; one line for each check, then a summary. Exit status 1 if one
failed. Needs only the standard library and a server with a voice. Set TTS_API_KEY if the server requires a key.
"""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
import wave
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

DEFAULT_URL = "http://127.0.0.1:8101"
TIMEOUT_S = 300  # the first request may load a model
TEXT = "Hello, this is a smoke test."
# The first bytes of a reply in each format; pcm has no header.
MAGIC = {"wav": b"RIFF", "flac": b"fLaC", "opus": b"OggS", "ogg": b"OggS", "mp3": b"\xff", "aac": b"\xff", "pcm": b""}
MIN_BYTES = 1000


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply of the server."""

    status: int
    body: bytes
    content_type: str

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Server:
    """The server under test."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def get(self, path: str) -> Reply:
        """The reply to a GET request."""
        return self._send(urllib.request.Request(self._url + path, headers=_key()))

    def speak(self, **fields: object) -> Reply:
        """The reply to a speech request."""
        body = json.dumps(fields).encode()
        headers = {"Content-Type": "application/json", **_key()}
        return self._send(urllib.request.Request(f"{self._url}/v1/audio/speech", body, headers))

    def _send(self, request: urllib.request.Request) -> Reply:
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
                return Reply(reply.status, reply.read(), reply.headers.get_content_type())
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.read(), error.headers.get_content_type())


def _key() -> dict[str, str]:
    """The header with the API key from TTS_API_KEY, if set."""
    key = os.environ.get("TTS_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


def check_health(server: Server) -> str:
    """Check /health; returns a summary, as every check does."""
    reply = server.get("/health")
    assert reply.status == 200, f"status {reply.status}"
    assert reply.json()["status"] == "ok", reply.json()["status"]
    return f"model_loaded {reply.json().get('model_loaded')}"


def check_voices(server: Server) -> str:
    """Check the list of voices."""
    voices = server.get("/v1/audio/voices").json()["voices"]
    assert voices, "no voices"
    return f"{len(voices)} voices"


def check_languages(server: Server) -> str:
    """Check the list of languages."""
    languages = server.get("/v1/audio/languages").json()["languages"]
    assert languages, "no languages"
    return f"{len(languages)} languages"


def check_synthesis(server: Server) -> str:
    """Check that the default voice gives audio."""
    reply = server.speak(input=TEXT, voice="alloy", response_format="wav")
    assert reply.status == 200, reply.body[:300].decode(errors="replace")
    with wave.open(BytesIO(reply.body)) as header:
        rate_hz, channels = header.getframerate(), header.getnchannels()
    seconds = (len(reply.body) - 44) / 2 / channels / rate_hz
    assert seconds > 0.5, f"only {seconds:.2f} s of audio"
    return f"{seconds:.1f} s of audio at {rate_hz} Hz"


def format_check(name: str) -> Callable[[Server], str]:
    """A check that the reply in format `name` has that format."""

    def check(server: Server) -> str:
        reply = server.speak(input=TEXT, voice="alloy", response_format=name)
        assert reply.status == 200, reply.body[:300].decode(errors="replace")
        assert reply.content_type.startswith("audio/"), reply.content_type
        assert reply.body.startswith(MAGIC[name]), f"begins with {reply.body[:4]!r}"
        assert len(reply.body) > MIN_BYTES, f"only {len(reply.body)} bytes"
        return f"{len(reply.body)} bytes of {reply.content_type}"

    return check


def error_check(**fields: object) -> Callable[[Server], str]:
    """A check that an invalid request is rejected with a message."""

    def check(server: Server) -> str:
        reply = server.speak(**fields)
        assert reply.status == 400, f"status {reply.status}"
        return str(reply.json()["error"]["message"])[:60]

    return check


CHECKS: dict[str, Callable[[Server], str]] = {
    "health": check_health,
    "voices": check_voices,
    "languages": check_languages,
    "synthesis": check_synthesis,
    **{f"format {name}": format_check(name) for name in MAGIC},
    "error: empty input": error_check(input="", voice="alloy"),
    "error: unknown voice": error_check(input=TEXT, voice="no-such-voice"),
    "error: unknown format": error_check(input=TEXT, voice="alloy", response_format="midi"),
    "error: speed out of range": error_check(input=TEXT, voice="alloy", speed=9),
}


def main() -> None:
    """Run every check against the server at the URL; exit with 1 if one fails."""
    parser = argparse.ArgumentParser("tts-smoke", description="Check a running server against the OpenAI speech API.")
    parser.add_argument("url", nargs="?", default=DEFAULT_URL, help="base URL of the server (default: %(default)s)")
    server = Server(parser.parse_args().url)
    failed = 0
    for name, check in CHECKS.items():
        try:
            outcome, detail = "PASS", check(server)
        except Exception as error:  # noqa: BLE001 - any error is one failed check
            outcome, detail = "FAIL", f"{type(error).__name__}: {error}"
            failed += 1
        print(f"{outcome}  {name:28} {detail}", flush=True)
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
