"""HTTP client of tritonserver: index, load, unload, statistics, and speech as a stream of events.

`tritonclient` has no call for `generate_stream`, so streams use aiohttp, which its asyncio client is built on.
"""

import asyncio
import binascii
import io
import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

import aiohttp
from tritonclient.http.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from speech_protocol import control
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import EndEvent, Event, StartEvent
from speech_protocol.request import SpeechRequest
from speech_protocol.stream import EventLines, error_from_triton, error_of_body, read_response

CONNECT_TIMEOUT_S = 5.0
QUERY_TIMEOUT_S = 5.0
_PROBE = SpeechRequest("", request_id="probe")
_PIECE_BYTES = 3 * 2**16  # a multiple of three, so that the base64 of pieces can be concatenated


class ModelState(StrEnum):
    """A model's state in Triton's index. FAILED is Triton's UNAVAILABLE with a reason other than an unload."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"
    FAILED = "failed"


class UnreachableError(SpeechError):
    """Triton itself does not answer."""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """The state of a model, and Triton's reason for it."""

    state: ModelState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One response of a speech model: its event, and PCM with an audio event."""

    event: Event
    pcm: bytes = b""


class Triton:
    """An async client of one tritonserver; use it as a context manager. All methods raise SpeechError."""

    def __init__(self, url: str, load_timeout_s: float, control_key: str = "") -> None:
        self._url = url.rstrip("/")
        self._load_timeout_s = load_timeout_s
        self._control = control.headers(control_key)
        self._resources = AsyncExitStack()
        self.last_index: dict[str, ModelStatus] = {}

    async def __aenter__(self) -> Self:
        host = self._url.partition("://")[2]
        ssl = self._url.startswith("https://")
        # A load returns when the model is ready, so it needs a separate client with a longer time-out.
        self._queries = await self._resources.enter_async_context(
            InferenceServerClient(host, ssl=ssl, conn_timeout=QUERY_TIMEOUT_S)
        )
        self._loads = await self._resources.enter_async_context(
            InferenceServerClient(host, ssl=ssl, conn_timeout=self._load_timeout_s)
        )
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=0)  # admission limits the streams, not the connection pool
        self._streams = await self._resources.enter_async_context(
            aiohttp.ClientSession(timeout=timeout, connector=connector)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    async def is_live(self) -> bool:
        """Whether tritonserver answers its liveness probe."""
        try:
            return bool(await self._queries.is_server_live())
        except (aiohttp.ClientError, TimeoutError, InferenceServerException):
            return False

    async def index(self) -> dict[str, ModelStatus]:
        """Every model in the repository and its state."""
        with triton_errors():
            rows = await self._queries.get_model_repository_index(headers=self._control)
        self.last_index = {row["name"]: _status(row) for row in rows}
        return self.last_index

    async def load(self, model: str) -> None:
        """Load a model and wait until it is ready. Concurrent loads of one model join; never call it while the model is
        UNLOADING."""
        with triton_errors(model):
            try:
                await self._loads.load_model(model, headers=self._control)
            except TimeoutError:
                limit = f"{self._load_timeout_s:g} s"
                message = f"The model '{model}' was not loaded within {limit}. Try again, or raise LOAD_TIMEOUT."
                raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, message) from None

    async def unload(self, model: str) -> None:
        """Start an unload; streams in flight finish, and the index reports its end."""
        with triton_errors(model):
            await self._queries.unload_model(model, headers=self._control)

    async def last_inference_ms(self, model: str) -> int:
        """When the last request of any client ended, in ms since the epoch; 0 if there was none."""
        with triton_errors(model):
            statistics = await self._queries.get_inference_statistics(model)
        return max((int(row.get("last_inference", 0)) for row in statistics["model_stats"]), default=0)

    async def process_of(self, model: str) -> str | None:
        """The id of the process that serves a model; None if it crashed, which only a request that no model accepts
        detects, since Triton's index does not show it; empty if there is no answer in time: a busy process may be slow.
        """
        try:
            start = await self._probe(model)
        except SpeechError as error:
            return None if error.code is ErrorCode.MODEL_DIED else ""
        return start.process if start else ""

    async def requests_of(self, model: str) -> int:
        """The number of requests that a model is serving, of any client; 0 if it does not answer."""
        try:
            start = await self._probe(model)
        except SpeechError:
            return 0
        return start.other_requests if start else 0

    async def _probe(self, model: str) -> StartEvent | None:
        """The start event of a request that no model accepts; None if none arrives in time. Raises SpeechError."""
        start: StartEvent | None = None
        try:
            async with asyncio.timeout(QUERY_TIMEOUT_S), aclosing(self.speak(model, _PROBE)) as messages:
                async for message in messages:
                    if isinstance(message.event, StartEvent):
                        start = message.event
        except TimeoutError:
            return start
        except SpeechError as error:
            if start is None or error.code is ErrorCode.MODEL_DIED:
                raise
        return start

    def speak(self, model: str, request: SpeechRequest) -> AsyncGenerator[Message, None]:
        """The messages of one request, up to and including its end event. Closing the generator cancels the request."""
        return speak(self._streams, self._url, model, request, self._control)


@contextmanager
def triton_errors(model: str = "") -> Iterator[None]:
    """Raises the failures of both HTTP clients as SpeechError."""
    try:
        yield
    except InferenceServerException as error:
        raise error_from_triton(str(error.message()), model) from error
    except (aiohttp.ClientError, TimeoutError) as error:
        message = f"Triton does not answer ({type(error).__name__}). Try again in a moment."
        raise UnreachableError(ErrorCode.MODEL_UNAVAILABLE, message) from error


async def speak(
    session: aiohttp.ClientSession, url: str, model: str, request: SpeechRequest, headers: Mapping[str, str]
) -> AsyncGenerator[Message, None]:
    """The messages of one request to the Triton at `url`, up to and including its end event. The session must have no
    total time-out: a generator may be advanced from several tasks, and the time-out would cancel the wrong one. Raises
    SpeechError."""
    # With recordings the body is megabytes long: encoding it would block the event loop.
    large = request.ref_audio is not None or request.ref_blend is not None
    body = await asyncio.to_thread(_body, request) if large else _body(request)
    address = f"{url}/v2/models/{model}/generate_stream"
    headers = {"Content-Type": "application/json", **headers}
    with triton_errors(model):
        # As a file, which is sent in pieces; bytes would be sent at once.
        async with session.post(address, data=io.BytesIO(body), headers=headers) as response:
            if response.status != 200:
                raise error_from_triton(error_of_body(await response.text()), model)
            lines = EventLines()
            async for piece in response.content.iter_any():
                for data in lines.feed(piece):
                    message = Message(*read_response(data, model))
                    yield message
                    if isinstance(message.event, EndEvent):
                        return
    message_text = f"The model '{model}' stopped during an utterance. Send the request again."
    raise SpeechError(ErrorCode.MODEL_UNAVAILABLE, message_text)


def _body(request: SpeechRequest) -> bytes:
    """`to_tensors` as JSON. Recordings (megabytes) are inserted piece by piece: encoding and escaping them at once
    would block all other threads for a tenth of a second."""
    # Values that are not inputs of the model are passed as request parameters.
    parameters = {"traceparent": request.traceparent} if request.traceparent else {}
    small = replace(request, ref_audio=None, ref_blend=None)
    pieces = [json.dumps({**small.to_tensors(), **parameters, "id": request.request_id}).encode()[:-1]]
    if request.ref_audio is not None:
        pieces += [b', "REF_AUDIO": "', *_base64(request.ref_audio), b'"']
    if request.ref_blend is not None:  # JSON as a string inside of JSON
        for number, part in enumerate(request.ref_blend):
            pieces.append(b', {\\"audio\\": \\"' if number else b', "REF_BLEND": "[{\\"audio\\": \\"')
            pieces += [*_base64(part.audio), b'\\", \\"weight\\": %r}' % part.weight]
        pieces.append(b']"')
    return b"".join((*pieces, b"}"))


def _base64(data: bytes) -> Iterator[bytes]:
    return (
        binascii.b2a_base64(data[at : at + _PIECE_BYTES], newline=False) for at in range(0, len(data), _PIECE_BYTES)
    )


def _status(row: dict[str, Any]) -> ModelStatus:
    state = row.get("state", "UNAVAILABLE")
    reason = row.get("reason", "")
    if state == "UNAVAILABLE":
        return ModelStatus(ModelState.UNLOADED if reason in {"", "unloaded"} else ModelState.FAILED, reason)
    return ModelStatus(ModelState(state.lower()), reason)
