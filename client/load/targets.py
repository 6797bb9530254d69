"""The servers that a load test asks: anything with OpenAI's speech route, or a speech model of Triton itself."""

import base64
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from speech_protocol.errors import SpeechError
from speech_protocol.events import EndEvent, ErrorEvent, parse_event
from speech_protocol.request import SpeechRequest


class TargetError(Exception):
    """A request that was not served; `kind` is what failures are counted by."""

    def __init__(self, kind: str, message: str = "") -> None:
        super().__init__(message or kind)
        self.kind = kind


class Target(Protocol):
    """A server under test."""

    @property
    def label(self) -> str: ...

    @property
    def audio_format(self) -> str: ...

    def speak(self, session: aiohttp.ClientSession, text: str) -> AsyncGenerator[bytes, None]:
        """The body of one reply, in pieces as they come. Raises TargetError."""
        ...


@dataclass(frozen=True, slots=True)
class OpenAITarget:
    """POST /v1/audio/speech of `url`."""

    url: str
    label: str
    model: str
    voice: str
    audio_format: str = "pcm"
    api_key: str = ""

    async def speak(self, session: aiohttp.ClientSession, text: str) -> AsyncGenerator[bytes, None]:
        body = {"model": self.model, "voice": self.voice, "input": text, "response_format": self.audio_format}
        key = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        async with session.post(f"{self.url}/v1/audio/speech", json=body, headers=key) as reply:
            if reply.status != 200:
                raise TargetError(f"status {reply.status}", (await reply.text())[:300])
            async for piece in reply.content.iter_any():
                yield piece


@dataclass(frozen=True, slots=True)
class TritonTarget:
    """`generate_stream` of one of our speech models, without the frontend."""

    url: str
    label: str
    model: str
    voice: str
    audio_format: str = "pcm"

    async def speak(self, session: aiohttp.ClientSession, text: str) -> AsyncGenerator[bytes, None]:
        body = SpeechRequest(text, speaker=self.voice or None).to_tensors()
        async with session.post(f"{self.url}/v2/models/{self.model}/generate_stream", json=body) as reply:
            if reply.status != 200:
                raise TargetError(f"status {reply.status}", (await reply.text())[:300])
            rest = b""
            async for piece in reply.content.iter_any():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line.startswith(b"data:") and (audio := _audio(line[5:])):
                        yield audio


def _audio(data: bytes) -> bytes:
    fields = json.loads(data)
    if "error" in fields:
        error = SpeechError.from_text(fields["error"])
        raise TargetError(str(error.code) if error else "triton error", fields["error"][:300])
    event = parse_event(fields["EVENT"])
    if isinstance(event, ErrorEvent):
        raise TargetError(event.code, event.message)
    return b"" if isinstance(event, EndEvent) else base64.b64decode(fields["AUDIO"] or b"")
