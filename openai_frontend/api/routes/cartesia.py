"""WS /tts/websocket: Cartesia's protocol, for the unmodified Cartesia clients of LiveKit and Pipecat."""

import asyncio
import base64
import time
import uuid
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal, cast

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from openai_frontend.api.auth import Caller
from openai_frontend.api.messages import MessageError, Messages
from openai_frontend.api.routes.speech import has_words
from openai_frontend.api.schemas import Name, Seed, Text, VoiceName
from openai_frontend.api.state import State
from openai_frontend.audio.formats import AudioFormat
from openai_frontend.audio.raw import raw_format
from openai_frontend.errors import ApiError, from_exception, invalid
from openai_frontend.synthesis.body import Encoded
from openai_frontend.synthesis.live import LiveText
from openai_frontend.voices.speaking import voice_fields
from speech_protocol.languages import AUTO, parse_language
from speech_protocol.request import SpeechRequest

router = APIRouter()

# Maximum concurrent utterances of one connection.
_MAX_CONTEXTS: Final = 32


class _Lenient(BaseModel):
    """A message; fields that this server does not use are ignored."""

    model_config = ConfigDict(extra="ignore")


class VoiceChoice(_Lenient):
    """`id`: a name or an id of GET /v1/audio/voices."""

    mode: Literal["id"] = "id"
    id: VoiceName


class OutputFormat(_Lenient):
    """Raw audio, mono."""

    container: Literal["raw"] = "raw"
    encoding: Name = "pcm_s16le"
    sample_rate: int = 24_000


class GenerationConfig(_Lenient):
    """Options of the synthesis."""

    speed: Annotated[float | None, Field(ge=0.25, le=4)] = None


class ContextMessage(_Lenient):
    """A piece of the text of a context; the first one configures the synthesis."""

    context_id: Name
    transcript: Text = ""
    continue_: Annotated[bool, Field(alias="continue")] = False
    cancel: bool = False
    flush: bool = False
    flush_id: int | None = None
    model_id: Name | None = None
    voice: VoiceChoice | None = None
    language: Name | None = None
    output_format: OutputFormat = OutputFormat()
    add_timestamps: bool = False
    generation_config: GenerationConfig | None = None
    seed: Seed | None = None


@router.websocket("/tts/websocket")
async def speak_contexts(websocket: WebSocket) -> None:
    """Texts in pieces, each in a context; the contexts of a connection are synthesized concurrently."""
    await websocket.accept()
    state, caller = cast(State, websocket.app.state.speech), cast(Caller, websocket.state.caller)
    connection = _Connection(Messages(websocket, state.settings.send_timeout), state, caller)
    try:
        await connection.run()
    except (WebSocketDisconnect, ConnectionError):
        pass
    finally:
        await connection.aclose()


class _Context:
    """One utterance: its text, and the task that synthesizes it."""

    def __init__(self, text: LiveText, message: ContextMessage) -> None:
        self.text, self.message = text, message
        self.task: asyncio.Task[None] | None = None


class _Connection:
    def __init__(self, messages: Messages, state: State, caller: Caller) -> None:
        self._messages, self._state, self._caller = messages, state, caller
        self._contexts: dict[str, _Context] = {}

    async def run(self) -> None:
        """Serve until the client disconnects or sends an invalid message."""
        try:
            while True:
                await self._take(await self._messages.receive())
        except MessageError as error:
            await self._send_error("", str(error), 400)
            await self._messages.close(error.code)

    async def aclose(self) -> None:
        """Cancel all utterances."""
        tasks = [context.task for context in self._contexts.values() if context.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, fields: dict[str, Any]) -> None:
        context_id = fields.get("context_id")
        try:
            await self._handle(ContextMessage.model_validate(fields))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            await self._send_error(context_id, f"{where}: {first['msg']}. Send it as Cartesia's clients do.", 400)
        except ApiError as error:
            await self._send_error(context_id, error.message, error.status)

    async def _handle(self, message: ContextMessage) -> None:
        context = self._contexts.get(message.context_id)
        if message.cancel:
            await self._cancel(message.context_id)
            return
        self._caller.allowance.spend_characters(len(message.transcript))
        if context is None:
            context = self._open(message)
        context.text.append(message.transcript)
        if message.flush:
            context.text.flush()
            await self._send("flush_done", message.context_id, flush_id=message.flush_id)
        if not message.continue_:
            context.text.close()

    def _open(self, message: ContextMessage) -> _Context:
        """Start a context. Raises ApiError."""
        if len(self._contexts) >= _MAX_CONTEXTS:
            text = f"This connection has {_MAX_CONTEXTS} contexts already. Retry when one of them has ended."
            raise ApiError(429, "rate_limit_exceeded", text)
        output = message.output_format
        try:
            audio_format = raw_format(output.encoding, output.sample_rate)
        except ValueError as error:
            raise invalid("output_format", f"output_format: {error}. Use pcm_s16le at 24000.") from None
        settings = self._state.settings
        context = _Context(LiveText(settings.max_input_chars, settings.live_idle_timeout), message)
        self._contexts[message.context_id] = context
        context.task = asyncio.create_task(self._speak(context, audio_format))
        return context

    async def _cancel(self, context_id: str) -> None:
        context = self._contexts.pop(context_id, None)
        if context is not None and context.task is not None:
            context.task.cancel()
            await asyncio.gather(context.task, return_exceptions=True)
        await self._send("done", context_id, done=True, status_code=200)

    async def _speak(self, context: _Context, audio_format: AudioFormat) -> None:
        context_id = context.message.context_id
        begin_s = time.monotonic()
        try:
            body = await self._open_body(context, audio_format)
            async with aclosing(body):
                async for encoded in body:
                    await self._send_piece(context.message, encoded, time.monotonic() - begin_s)
            await self._send("done", context_id, done=True, status_code=200)
        except ConnectionError:
            pass
        except Exception as error:  # noqa: BLE001 - logged if it is unexpected, and sent
            failure = from_exception(error)
            await self._send_error(context_id, failure.message, failure.status)
        finally:
            if self._contexts.get(context_id) is context:
                del self._contexts[context_id]

    async def _open_body(self, context: _Context, audio_format: AudioFormat) -> Any:
        message, state = context.message, self._state
        voice = message.voice.id if message.voice else None
        try:
            target = await state.resolve(message.model_id, voice, owner=self._caller.owner)
        except ApiError as error:
            if error.code != "model_not_found":
                raise
            # Clients send Cartesia's model names, none of which exists here.
            target = await state.resolve(None, voice, owner=self._caller.owner)
        fields = await voice_fields(target, state.library, state.pools.reading)
        request = SpeechRequest(
            text="",
            language=parse_language(message.language or AUTO) or AUTO,
            seed=message.seed,
            max_audio_seconds=state.settings.max_audio_seconds,
            request_id=uuid.uuid4().hex,
            **fields,
        )
        config = message.generation_config
        speed = config.speed if config and config.speed else 1.0
        words = message.add_timestamps and has_words(target.model, state.settings)
        return await state.synthesis.open(
            target.model, request, audio_format, speed, live=context.text, words=words, owner=self._caller.owner
        )

    async def _send_piece(self, message: ContextMessage, encoded: Encoded, took_s: float) -> None:
        if message.add_timestamps and encoded.words:
            times = {
                "words": [word.text for word in encoded.words],
                "start": [round(word.start_s, 3) for word in encoded.words],
                "end": [round(word.end_s, 3) for word in encoded.words],
            }
            await self._send("timestamps", message.context_id, done=False, status_code=206, word_timestamps=times)
        if encoded.data:
            data = base64.b64encode(encoded.data).decode()
            step_ms = round(took_s * 1000, 1)
            await self._send("chunk", message.context_id, data=data, done=False, status_code=206, step_time=step_ms)

    async def _send(self, kind: str, context_id: str, **fields: Any) -> None:
        await self._messages.send({"type": kind, "context_id": context_id, **fields})

    async def _send_error(self, context_id: object, message: str, status: int) -> None:
        known = context_id if isinstance(context_id, str) else ""
        await self._send("error", known, error=message, status_code=status, done=True)
