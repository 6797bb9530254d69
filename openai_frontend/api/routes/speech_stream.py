"""WS /v1/audio/speech/stream: text in, speech out, in vLLM-Omni's messages, with interruption."""

import asyncio
import base64
import uuid
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, Final, cast

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from openai_frontend.api.auth import Caller
from openai_frontend.api.messages import INVALID_PAYLOAD, MessageError, Messages
from openai_frontend.api.responses import word_fields
from openai_frontend.api.routes.speech import check_words, wire_request
from openai_frontend.api.schemas import SpeechBody, audio_format_of
from openai_frontend.api.state import State
from openai_frontend.audio.formats import AudioFormat
from openai_frontend.errors import ApiError, from_exception, invalid
from openai_frontend.synthesis.body import Body, Encoded
from openai_frontend.synthesis.live import LiveText
from speech_protocol.request import SpeechRequest

router = APIRouter()

# vLLM-Omni's names of fields of /v1/audio/speech.
_NAMES: Final = {"speaker": "voice"}
# Placeholder for the text until it arrives.
_NO_TEXT: Final = "-"
_PROTOCOL: Final = "speech"  # for pages, whose key is in another subprotocol
_MAX_PENDING: Final = 8
_CONFIG_S: Final = 10.0


@router.websocket("/audio/speech/stream")
async def stream_speech(websocket: WebSocket) -> None:
    """`session.config` first, then `input.text`, `input.commit`, `input.done`, `input.cancel`, `session.close`."""
    await websocket.accept(_PROTOCOL if _PROTOCOL in websocket.scope.get("subprotocols", ()) else None)
    state, caller = cast(State, websocket.app.state.speech), cast(Caller, websocket.state.caller)
    session = _Session(websocket, state, caller, uuid.uuid4().hex)
    try:
        await session.run()
    except (WebSocketDisconnect, ConnectionError):
        pass
    finally:
        await session.aclose()


class _Session:
    """One connection: a configuration, and one utterance after another. Messages are read during synthesis."""

    def __init__(self, websocket: WebSocket, state: State, caller: Caller, request_id: str) -> None:
        self._messages = Messages(websocket, state.settings.send_timeout)
        self._state, self._caller, self._id = state, caller, request_id
        self._body: SpeechBody | None = None
        self._wire: tuple[str, SpeechRequest] | None = None
        self._text: LiveText | None = None
        self._speech: asyncio.Task[None] | None = None
        self._utterance = 0
        self._pending = 0  # utterances that have not ended

    async def run(self) -> None:
        """Serve until `session.close`, a disconnect, or an invalid message."""
        try:
            while (message := await self._receive())["type"] != "session.close":
                try:
                    await self._handle(message)
                except (ApiError, ValidationError) as error:
                    await self._send_error(error)
        except MessageError as error:
            await self._messages.send({"type": "error", "message": str(error), "code": "invalid_message"})
            await self._messages.close(error.code)
            return
        await self._messages.close()

    async def _receive(self) -> dict[str, Any]:
        message = await self._messages.receive(_CONFIG_S if self._body is None else None)
        if not isinstance(message.get("type"), str):
            raise MessageError(INVALID_PAYLOAD, "A message has a `type`. Send one.")
        return message

    async def aclose(self) -> None:
        """Cancel the utterance in flight."""
        if self._speech is not None:
            self._speech.cancel()
            await asyncio.gather(self._speech, return_exceptions=True)

    async def _handle(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "session.config":
            await self._configure(message)
        elif kind == "input.text":
            await self._append(message.get("text"))
        elif kind == "input.commit":
            self._current_text().flush()
        elif kind == "input.done":
            self._current_text().close()
            self._text = None
        elif kind == "input.cancel":
            await self._cancel()
        else:
            raise invalid("type", f"'{kind[:40]}' is not a message. Send input.text, input.done or session.close.")

    async def _configure(self, message: dict[str, Any]) -> None:
        """Check everything that can be checked without a text. Raises ApiError or ValidationError."""
        if self._text is not None:
            raise invalid("type", "An utterance is open. Send input.done or input.cancel first.")
        fields = {_NAMES.get(name, name): value for name, value in message.items() if name != "type"}
        body = SpeechBody.model_validate({**fields, "input": _NO_TEXT})
        audio_format = audio_format_of(body.response_format or "pcm", self._state.settings, body.sample_rate)
        model, wire = await wire_request(body, self._state, self._id, self._caller)
        check_words(body, model, _NO_TEXT, self._state)
        self._body, self._wire, self._format = body, (model, wire), audio_format
        await self._messages.send({"type": "session.configured", "model": model, "format": audio_format.name})

    async def _append(self, piece: object) -> None:
        if not isinstance(piece, str):
            raise invalid("text", "input.text has no `text`. Send it as a string.", "missing_required_parameter")
        if self._wire is None or self._body is None:
            raise invalid("type", "The session has no configuration. Send session.config first.")
        self._caller.allowance.spend_characters(len(piece))
        if self._text is None:
            if self._pending >= _MAX_PENDING:
                raise ApiError(429, "rate_limit_exceeded", f"{_MAX_PENDING} utterances wait. Retry when one has ended.")
            settings = self._state.settings
            self._text = LiveText(settings.max_input_chars, settings.live_idle_timeout)
            speak = partial(self._speak, self._text, *self._wire, self._body, self._format)
            self._pending += 1
            self._speech = asyncio.create_task(self._speak_after(self._speech, speak))
            self._speech.add_done_callback(self._ended)
        self._text.append(piece)

    def _current_text(self) -> LiveText:
        if self._text is None:
            raise invalid("type", "No utterance is open. Send input.text first.")
        return self._text

    async def _cancel(self) -> None:
        self._text = None
        await self.aclose()
        self._speech = None
        await self._messages.send({"type": "audio.cancelled", "utterance_index": self._utterance})
        self._utterance += 1

    async def _speak_after(self, previous: asyncio.Task[None] | None, speak: Callable[[], Awaitable[None]]) -> None:
        """Utterances are spoken one after another. A cancellation ends all of them."""
        if previous is not None:
            await asyncio.gather(previous, return_exceptions=True)
        await speak()

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._pending -= 1

    async def _speak(
        self, text: LiveText, model: str, wire: SpeechRequest, config: SpeechBody, audio_format: AudioFormat
    ) -> None:
        sentences = 0
        try:
            request = replace(wire, text="")
            body = await self._state.synthesis.open(
                model,
                request,
                audio_format,
                config.speed,
                live=text,
                words=config.wants_words,
                owner=self._caller.owner,
            )
            sentences = await self._send_audio(body, audio_format, with_words=config.wants_words)
        except ConnectionError:
            return
        except Exception as error:  # noqa: BLE001 - logged if it is unexpected, and sent
            await self._send_error(error)
        if self._text is text:  # it failed before the text ended
            self._text = None
        done = {"type": "session.done", "utterance_index": self._utterance, "total_sentences": sentences}
        self._utterance += 1
        await self._messages.send(done)

    async def _send_audio(self, body: Body, audio_format: AudioFormat, *, with_words: bool) -> int:
        """Send the audio of an utterance; returns the number of its segments."""
        index, size = -1, 0
        async with aclosing(body):
            async for encoded in body:
                for start in encoded.begun:
                    if index >= 0:
                        await self._send_done(index, size)
                    index, size = start.place.number, 0
                    await self._send_start(index, start.place.text, audio_format)
                size += len(encoded.data)
                if encoded.data or (with_words and encoded.words):
                    await self._send_piece(encoded, index, with_words=with_words)
        await self._send_done(index, size)
        return index + 1

    async def _send_start(self, index: int, text: str, audio_format: AudioFormat) -> None:
        fields = {"sentence_index": index, "sentence_text": text, "format": audio_format.name}
        await self._messages.send({"type": "audio.start", "utterance_index": self._utterance, **fields})

    async def _send_done(self, index: int, size: int) -> None:
        fields = {"sentence_index": index, "total_bytes": size, "error": False}
        await self._messages.send({"type": "audio.done", "utterance_index": self._utterance, **fields})

    async def _send_piece(self, encoded: Encoded, index: int, *, with_words: bool) -> None:
        if not with_words:
            await self._messages.send(encoded.data)
            return
        fields = {
            "utterance_index": self._utterance,
            "sentence_index": index,
            "audio_b64": base64.b64encode(encoded.data).decode(),
            "timestamps": [word_fields(word) for word in encoded.words],
        }
        await self._messages.send({"type": "audio.chunk", **fields})

    async def _send_error(self, error: Exception) -> None:
        if isinstance(error, ValidationError):
            error = RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()])
        failure = from_exception(error)
        fields = {"message": failure.message, "code": failure.code, "param": failure.param}
        await self._messages.send({"type": "error", "utterance_index": self._utterance, **fields})
