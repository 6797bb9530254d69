"""One supervised utterance of a Triton model: a time-out per message, liveness checks, one retry and a typed end."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol

from speech_client.liveness import ReplacedError
from speech_client.triton import Message
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import GUARD_REASONS, EndEvent, StartEvent
from speech_protocol.request import SpeechRequest

logger = logging.getLogger(__name__)

# Messages that a stream buffers; Triton holds back the rest for a slow reader.
BUFFERED_MESSAGES: Final = 32
# The model did not accept the request, so it can be retried.
RETRIED: Final = frozenset({ErrorCode.MODEL_UNAVAILABLE, ErrorCode.MODEL_DIED, ErrorCode.SHUTTING_DOWN})
_QUEUE_POLL_S: Final = 0.2
# A model's process is probed when no message has arrived for this long.
_SILENCE_S: Final = 2.0


class StreamTimeoutError(Exception):
    """No message arrived within `limit_s` seconds."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"no message within {limit_s:g} s")
        self.limit_s = limit_s


class Server(Protocol):
    """The source of an utterance's messages: `Triton`."""

    def speak(self, model: str, request: SpeechRequest) -> AsyncGenerator[Message, None]:
        """The messages of one request, up to and including its end event. Raises SpeechError."""


class Models(Protocol):
    """The state of the models, which a stream reads and updates."""

    def generation(self, name: str) -> int:
        """The number of the model's current load."""
        ...

    async def ensure_ready(self, name: str) -> None:
        """Wait until the model can take requests. Raises SpeechError."""
        ...

    def mark_unavailable(self, name: str, generation: int, *, dead: bool = False) -> None:
        """Report that a request of that load found the model unavailable, or its process `dead`."""
        ...

    async def check_alive(self, name: str, generation: int, process: str) -> None:
        """Raises SpeechError if the process that serves the request no longer exists."""
        ...


@dataclass(frozen=True, slots=True)
class Supervision:
    """How streams are supervised. `timeout_s`: maximum wait for a message, 0 for no limit; `started`: called with the
    model's name and each start event; `retries`: whether to retry once with an unavailable model."""

    models: Models
    timeout_s: float = 0.0
    started: Callable[[str, StartEvent], None] = lambda _model, _event: None
    retries: bool = True


class SpeechStream:
    """One utterance in flight: a task reads its messages into a bounded queue, from construction on.

    The request is retried once if the model is found unavailable before any audio; with `may_wait`, also while the
    engine's queue is full. Must be cancelled or read to its end.
    """

    def __init__(
        self,
        server: Server,
        model: str,
        request: SpeechRequest,
        supervision: Supervision,
        *,
        may_wait: bool = False,
    ) -> None:
        self._server, self._model, self._request = server, model, request
        self._supervision, self._may_wait = supervision, may_wait
        self._queue: asyncio.Queue[Message | Exception] = asyncio.Queue(BUFFERED_MESSAGES)
        self._failure: Exception | None = None  # of its client
        self._first: Message | Exception | None = None
        self._process = ""
        self._delivered = False
        self._silent_since_s: float | None = None  # None while the queue is full
        self._text_is_open = request.stream_action is not None
        self.ran_away = False  # whether the runaway guard has ended the utterance
        self._task = asyncio.create_task(self._run())

    async def begun(self) -> SpeechError | None:
        """Wait for the first message; returns the error instead if the model can pronounce nothing in the text. Raises
        every other failure: SpeechError or StreamTimeoutError."""
        if self._first is None:
            self._first = await self._queue.get()
        if isinstance(self._first, SpeechError) and self._first.code is ErrorCode.UNSPEAKABLE_TEXT:
            return self._first
        if isinstance(self._first, Exception):
            raise self._first
        return None

    async def next(self) -> Message:
        """The next message, audio or the end event. Raises SpeechError or StreamTimeoutError."""
        item, self._first = self._first or await self._queue.get(), None
        if isinstance(item, Exception):
            raise item
        return item

    def cancel(self) -> None:
        """Cancel the request in the engine, unless it has ended."""
        self._task.cancel()

    def text_ended(self) -> None:
        """All text of an open utterance has been sent: from now on, messages are due again."""
        self._text_is_open = False
        self._silent_since_s = None if self._silent_since_s is None else asyncio.get_running_loop().time()

    def fail(self, error: Exception) -> None:
        """Cancel the request in the engine; `next` raises `error` after what has arrived. No effect if it has ended."""
        if not self._task.done():
            self._failure = error
            self._task.cancel()

    async def ended(self) -> None:
        """Wait until the connection is released."""
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            await self._read_with_retry()
        except asyncio.CancelledError:
            if self._failure is None:
                raise
            await self._queue.put(self._failure)
        except Exception as error:  # noqa: BLE001 - raised by `begun` or `next`
            await self._queue.put(error)

    async def _read_with_retry(self) -> None:
        models, loop = self._supervision.models, asyncio.get_running_loop()
        begin_s, retried = loop.time(), not self._supervision.retries
        while True:
            generation = models.generation(self._model)
            try:
                return await self._read(generation)
            except SpeechError as error:
                dead = error.code is ErrorCode.MODEL_DIED and not isinstance(error, ReplacedError)
                retry = error.code in RETRIED and not retried and not self._delivered
                if dead or retry:
                    models.mark_unavailable(self._model, generation, dead=dead)
                if retry:
                    retried = True
                    logger.warning("%s; retrying once", error.message)
                    await models.ensure_ready(self._model)
                elif self._may_wait_for_queue(error, loop.time() - begin_s):
                    await asyncio.sleep(_QUEUE_POLL_S)
                else:
                    raise

    def _may_wait_for_queue(self, error: SpeechError, waited_s: float) -> bool:
        limit_s = self._supervision.timeout_s or float("inf")
        return error.code is ErrorCode.QUEUE_FULL and self._may_wait and not self._delivered and waited_s < limit_s

    async def _read(self, generation: int) -> None:
        """Read one attempt into the queue. Raises SpeechError and StreamTimeoutError."""
        self._process, self._silent_since_s = "", asyncio.get_running_loop().time()
        failures: list[Exception] = []
        try:
            async with asyncio.timeout(None) as reading:  # expires when the watch finds a failure
                watch = asyncio.create_task(self._watch(generation, reading, failures))
                try:
                    async with aclosing(self._server.speak(self._model, self._request)) as messages:
                        async for message in messages:
                            await self._take(message)
                finally:
                    watch.cancel()
                    await asyncio.wait([watch])
        except TimeoutError:
            if not failures:
                raise
            raise failures[0] from None

    async def _take(self, message: Message) -> None:
        if isinstance(message.event, StartEvent):
            self._process = message.event.process
            self._supervision.started(self._model, message.event)
        else:
            self._silent_since_s, self._delivered = None, True
            await self._queue.put(message)
            self.ran_away = is_runaway(message)
        self._silent_since_s = asyncio.get_running_loop().time()

    async def _watch(self, generation: int, reading: asyncio.Timeout, failures: list[Exception]) -> None:
        """Fail the stream if no message arrives in time or its process has ended: Triton does not close the streams of
        a process that crashes."""
        try:
            while True:
                await self._check(generation)
        except Exception as error:  # noqa: BLE001 - raised by `_read`
            failures.append(error)
            reading.reschedule(0)

    async def _check(self, generation: int) -> None:
        now_s, timeout_s = asyncio.get_running_loop().time(), self._supervision.timeout_s
        patience_s = min(_SILENCE_S, timeout_s or _SILENCE_S)
        since_s = self._silent_since_s if self._silent_since_s is not None else now_s
        if now_s < since_s + patience_s:
            await asyncio.sleep(since_s + patience_s - now_s)
        # After its first audio, an utterance whose text is open may wait for text.
        elif (limited := timeout_s and not (self._text_is_open and self._delivered)) and now_s >= since_s + timeout_s:
            raise StreamTimeoutError(timeout_s)
        else:
            try:
                async with asyncio.timeout_at(since_s + timeout_s if limited else None):
                    await self._supervision.models.check_alive(self._model, generation, self._process)
                    await asyncio.sleep(_SILENCE_S)
            except TimeoutError:
                pass  # the next round decides: a message may have arrived in the meantime


def is_runaway(message: Message) -> bool:
    """Whether this is the end of an utterance that the runaway guard has stopped."""
    return isinstance(message.event, EndEvent) and message.event.finish_reason in GUARD_REASONS
