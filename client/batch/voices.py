"""Voices, models and languages by the names of the API: the running server resolves them, with the same code as for its
own requests, to a Triton model and its speaker or reference recording."""

import asyncio
import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import aiohttp

from speech_protocol.control import headers, read_key
from speech_protocol.languages import AUTO, parse_language
from speech_protocol.models import HIBARI
from speech_protocol.request import SpeechRequest
from speech_text.characters import normalized

from .failures import InputError, RefusedError, UnreachableError
from .plan import SpeechDefaults, Utterance

_PATH: Final = "/v1/audio/speech/resolve"
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, sock_connect=10)
_POLL_S: Final = 1.0
_LATER: Final = frozenset((429, 500, 502, 503, 504))


@dataclass(frozen=True, slots=True)
class Voice:
    """A resolved voice: a Triton model and a request without text and seed. `identity` is a hash of both."""

    model: str
    request: SpeechRequest
    identity: str

    @classmethod
    def from_request(cls, model: str, request: SpeechRequest) -> "Voice":
        """The voice of a Triton model and a request; text and seed are ignored."""
        tensors = {name: value for name, value in request.to_tensors().items() if name not in ("TEXT", "SEED")}
        digest = hashlib.sha256(json.dumps([model, tensors], sort_keys=True).encode())
        return cls(model, request, digest.hexdigest())

    def instructed(self, instruct: str) -> "Voice":
        """The same voice with style instructions."""
        digest = hashlib.sha256(json.dumps([self.identity, instruct]).encode())
        return Voice(self.model, replace(self.request, instruct=instruct), digest.hexdigest())

    @property
    def language(self) -> str:
        """The language of the request."""
        return self.request.language


@dataclass(frozen=True, slots=True)
class Job:
    """An utterance with its voice. `key` is a hash of everything that determines its audio, except the checkpoint."""

    key: str
    utterance: Utterance
    voice: Voice
    request: SpeechRequest


def make_job(utterance: Utterance, voice: Voice, spoken: str) -> Job:
    """`spoken`: the text for the model, apart from invisible characters. Each utterance has its own seed, the same in
    every run."""
    spoken = normalized(spoken)
    digest = hashlib.sha256(json.dumps([voice.identity, spoken, utterance.seed]).encode()).digest()
    request = replace(voice.request, text=spoken, seed=int.from_bytes(digest[:7]))
    return Job(digest.hex()[:32], utterance, voice, request)


class Resolver:
    """Resolves names with one server; without one, names are Triton's own. Use it as an async context manager."""

    def __init__(self, server: str | None, api_key: str, patience_s: float, hint: str = "") -> None:
        """`hint`: the declared language of a book, used if the server knows it and no other language is specified."""
        self._server, self._patience_s, self._hint = server, patience_s, hint
        authorization = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._headers = {**authorization, **headers(read_key())}

    async def __aenter__(self) -> "Resolver":
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT, headers=self._headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def voices(self, manners: Iterable[SpeechDefaults]) -> dict[SpeechDefaults, Voice | RefusedError]:
        """A voice for each set of options, or the reason for the server's rejection. Raises InputError and
        UnreachableError."""
        found: dict[SpeechDefaults, Voice | RefusedError] = {}
        asked: dict[SpeechDefaults, Voice | RefusedError] = {}
        for manner in dict.fromkeys(manners):
            # Instructions do not affect the resolution, and a dataset may have different ones in each row.
            alike = replace(manner, instruct="x" if manner.instruct else None)
            if alike not in asked:
                try:
                    asked[alike] = await self._voice(alike)
                except RefusedError as error:
                    asked[alike] = error
            voice = asked[alike]
            if manner.instruct and isinstance(voice, Voice):
                voice = voice.instructed(manner.instruct)
            found[manner] = voice
        return found

    async def language(self, name: str) -> str:
        """The wire's name of a language. Raises RefusedError, InputError and UnreachableError."""
        if self._server is None:
            return parse_language(name) or name.lower()
        return str((await self._ask({"input": "x", "language": name}))["inputs"].get("LANGUAGE", AUTO))

    async def _voice(self, manner: SpeechDefaults) -> Voice:
        if self._server is None:
            language = manner.language or AUTO
            request = SpeechRequest("x", language=language, speaker=manner.voice, instruct=manner.instruct)
            return Voice.from_request(manner.model or HIBARI.name, request)
        fields = {
            "input": "x",
            "voice": manner.voice,
            "model": manner.model,
            "language": manner.language or (await self._known_hint()),
            "instructions": manner.instruct,
        }
        reply = await self._ask({name: value for name, value in fields.items() if value is not None})
        return Voice.from_request(str(reply["model"]), SpeechRequest.from_tensors(reply["inputs"]))

    async def _known_hint(self) -> str | None:
        if self._hint:
            try:
                self._hint = await self.language(self._hint)
            except RefusedError:
                self._hint = ""
        return self._hint or None

    async def _ask(self, body: Mapping[str, Any]) -> dict[str, Any]:
        begin_s = time.monotonic()
        while True:
            try:
                async with self._session.post(f"{self._server}{_PATH}", json=body) as reply:
                    if reply.status == 200:
                        return dict(await reply.json())
                    message = await _message(reply)
                    if reply.status in (401, 403):
                        raise InputError(f"{self._server} refuses the names to be resolved: {message}")
                    if reply.status not in _LATER:
                        raise RefusedError(message)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                message = f"{type(error).__name__}."
            if time.monotonic() - begin_s >= self._patience_s:
                raise UnreachableError(
                    f"The server at {self._server}, which resolves the voices, cannot be reached: {message} "
                    "(--no-server: names are Triton's own.)"
                )
            await asyncio.sleep(_POLL_S)


async def _message(reply: aiohttp.ClientResponse) -> str:
    text = await reply.text()
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        if reply.status == 404:
            return f"there is no {_PATH} there. Is it this project's server, in this version?"
        return f"status {reply.status}"
