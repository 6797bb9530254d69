"""The servers under test: any with OpenAI's speech route, or a speech model of Triton."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from speech_client.triton import speak
from speech_protocol.control import headers
from speech_protocol.errors import SpeechError
from speech_protocol.request import SpeechRequest


class TargetError(Exception):
    """A failed request; `kind` is the category for counting."""

    def __init__(self, kind: str, message: str = "") -> None:
        super().__init__(message or kind)
        self.kind = kind


class Target(Protocol):
    """A server under test."""

    @property
    def label(self) -> str:
        """The name of the target in reports."""

    @property
    def audio_format(self) -> str:
        """The response format."""

    def speak(self, session: aiohttp.ClientSession, text: str) -> AsyncGenerator[bytes, None]:
        """The body of one reply, in pieces as they arrive. Raises TargetError."""
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
    """`generate_stream` of a speech model of this project, without the frontend."""

    url: str
    label: str
    model: str
    voice: str
    audio_format: str = "pcm"
    control_key: str = ""

    async def speak(self, session: aiohttp.ClientSession, text: str) -> AsyncGenerator[bytes, None]:
        request = SpeechRequest(text, speaker=self.voice or None)
        try:
            async for message in speak(session, self.url, self.model, request, headers(self.control_key)):
                if message.pcm:
                    yield message.pcm
        except SpeechError as error:
            raise TargetError(str(error.code), error.message) from None
