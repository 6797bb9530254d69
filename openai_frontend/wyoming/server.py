"""Serves the Wyoming protocol: `describe`, `synthesize`, and text in pieces from `synthesize-start` to `-stop`."""

import asyncio
import logging
import uuid
from contextlib import aclosing, suppress
from typing import Any, Final

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, async_write_event
from wyoming.info import Attribution, Describe, Info, TtsProgram, TtsVoice
from wyoming.ping import Ping, Pong
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeStopped

from openai_frontend import __version__
from openai_frontend.api.state import State
from openai_frontend.audio.formats import FORMATS
from openai_frontend.errors import ApiError, from_exception, invalid
from openai_frontend.synthesis.live import LiveText
from openai_frontend.voices.listing import built_in_voices
from openai_frontend.voices.speaking import voice_fields
from openai_frontend.wyoming.events import MAX_LINE_BYTES, ProtocolError, read_event
from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.languages import AUTO, CODES, parse_language
from speech_protocol.request import SpeechRequest

logger = logging.getLogger(__name__)

_FORMAT: Final = {"rate": SAMPLE_RATE_HZ, "width": SAMPLE_BYTES, "channels": 1}
_US: Final = Attribution("Triton Speech Server", "https://github.com/QwenLM/Qwen3-TTS")


class WyomingServer:
    """Listens on `port` of `host`; at most `max_connections` at once."""

    def __init__(self, state: State, host: str, port: int, max_connections: int) -> None:
        self._state, self._host, self._port, self._max_connections = state, host, port, max_connections
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "WyomingServer":
        self._server = await asyncio.start_server(self._accept, self._host, self._port, limit=MAX_LINE_BYTES)
        logger.info("Wyoming on %s:%d", self._host, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self._max_connections:
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await _Connection(self._state, reader, writer).run()
        except asyncio.CancelledError:
            pass  # the server stops
        finally:
            self._connections.discard(task)
            writer.close()


class _Connection:
    """One client. Utterances are synthesized one after another; events are read in the meantime."""

    def __init__(self, state: State, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._state, self._reader, self._writer = state, reader, writer
        self._text: LiveText | None = None  # of the open stream
        self._speech: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    async def run(self) -> None:
        """Serve until the client disconnects or violates the protocol."""
        try:
            while (event := await read_event(self._reader)) is not None:
                await self._handle(event)
        except ProtocolError as error:
            await self._write(Error(f"Not a Wyoming event: {error}.", "protocol-error").event())
        except (ConnectionError, TimeoutError):
            pass
        finally:
            if self._speech is not None:
                self._speech.cancel()
                await asyncio.gather(self._speech, return_exceptions=True)

    async def _handle(self, event: Event) -> None:
        try:
            if Describe.is_type(event.type):
                await self._write(await self._state.pools.reading.run(self._info))
            elif Ping.is_type(event.type):
                await self._write(Pong(event.data.get("text")).event())
            elif SynthesizeStart.is_type(event.type):
                await self._start(event.data, is_stream=True)
            elif SynthesizeChunk.is_type(event.type):
                self._open_text().append(_text_of(event))
            elif SynthesizeStop.is_type(event.type):
                self._open_text().close()
                self._text = None
            elif Synthesize.is_type(event.type) and self._text is None:
                text = await self._start(event.data, is_stream=False)
                text.append(_text_of(event))
                text.close()
                self._text = None
        except ApiError as error:
            await self._write(Error(error.message, error.code).event())

    def _open_text(self) -> LiveText:
        if self._text is None:
            raise invalid("text", "No stream is open. Send synthesize-start first.")
        return self._text

    async def _start(self, data: dict[str, Any], *, is_stream: bool) -> LiveText:
        """Begin an utterance, once the previous one has ended. Raises ApiError if a stream is open."""
        if self._text is not None:
            raise invalid("text", "A stream is open. Send synthesize-stop first.")
        if self._speech is not None:
            await asyncio.gather(self._speech, return_exceptions=True)
        settings = self._state.settings
        self._text = text = LiveText(settings.max_input_chars, settings.live_idle_timeout)
        self._speech = asyncio.create_task(self._speak(text, data.get("voice"), is_stream=is_stream))
        return text

    async def _speak(self, text: LiveText, voice: object, *, is_stream: bool) -> None:
        try:
            await self._send_audio(text, voice if isinstance(voice, dict) else {})
        except ConnectionError:
            return
        except Exception as error:  # noqa: BLE001 - logged if it is unexpected, and sent
            failure = from_exception(error)
            await self._write(Error(failure.message, failure.code).event())
        if is_stream:
            await self._write(SynthesizeStopped().event())

    async def _send_audio(self, text: LiveText, voice: dict[str, Any]) -> None:
        state, name = self._state, str(voice.get("speaker") or voice.get("name") or "") or None
        target = await state.resolve(None, name)
        fields = await voice_fields(target, state.library, state.pools.reading)
        language = parse_language(str(voice.get("language") or AUTO)) or AUTO
        limit_s, own_id = state.settings.max_audio_seconds, uuid.uuid4().hex
        request = SpeechRequest(text="", language=language, max_audio_seconds=limit_s, request_id=own_id, **fields)
        body = await state.synthesis.open(target.model, request, FORMATS["pcm"], 1.0, live=text)
        async with aclosing(body):
            await self._write(AudioStart(**_FORMAT).event())
            async for encoded in body:
                if encoded.data:
                    await self._write(AudioChunk(audio=encoded.data, **_FORMAT).event())
            await self._write(AudioStop().event())

    async def _write(self, event: Event) -> None:
        """Send an event. A client that reads nothing is disconnected after SEND_TIMEOUT."""
        async with self._writing:
            try:
                async with asyncio.timeout(self._state.settings.send_timeout or None):
                    await async_write_event(event, self._writer)
            except TimeoutError:
                with suppress(OSError):
                    self._writer.transport.abort()
                raise ConnectionError("the client reads nothing") from None

    def _info(self) -> Event:
        entries = built_in_voices(self._state.catalog, self._state.facts)
        names = [(str(each["id"]), each.get("languages", [])) for each in entries if each.get("available", True)]
        names += [(name, []) for name in self._state.library.names()] if not self._state.has_keys else []
        voices = [
            TtsVoice(
                name=name, description=name, attribution=_US, installed=True, version=None, languages=_codes(languages)
            )
            for name, languages in names
        ]
        program = TtsProgram(
            name="triton-speech-server",
            description="Qwen3-TTS on Triton",
            attribution=_US,
            installed=True,
            version=__version__,
            voices=voices,
            supports_synthesize_streaming=True,
        )
        return Info(tts=[program]).event()


def _text_of(event: Event) -> str:
    text = event.data.get("text")
    if not isinstance(text, str):
        raise invalid("text", "The event has no `text`. Send it as a string.", "missing_required_parameter")
    return text


def _codes(languages: list[str]) -> list[str]:
    """Two-letter language codes, by which Home Assistant selects voices."""
    known = {language: code for code, language in CODES.items()}
    return [known[language] for language in languages if language in known] or list(CODES)
