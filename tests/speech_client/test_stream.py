"""Supervision of an utterance: retries, time-outs, crashed processes and back-pressure, on a scripted server."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import pytest

from speech_client.liveness import ReplacedError
from speech_client.stream import BUFFERED_MESSAGES, SpeechStream, StreamTimeoutError, Supervision
from speech_client.triton import Message
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import AudioEvent, EndEvent, FinishReason, StartEvent
from speech_protocol.request import SpeechRequest
from tests.support.virtual_time import run_in_virtual_time

START = Message(StartEvent("fake", "none", "cpu", process="first"))
AUDIO = Message(AudioEvent(2), b"\x01\x00\x02\x00")
END = Message(EndEvent(FinishReason.STOP, 2, 1, 0.0, 0.0, 0.0))
Attempt = list[Message | SpeechError | None]  # None: nothing follows, and the stream stays open


class Server:
    """Answers the requests in the order of `attempts`."""

    def __init__(self, *attempts: Attempt) -> None:
        self._attempts = list(attempts)
        self.requests = 0
        self.sent = 0
        self.closed = 0

    async def speak(self, model: str, request: SpeechRequest) -> AsyncGenerator[Message, None]:
        attempt = self._attempts[self.requests]
        self.requests += 1
        try:
            for each in attempt:
                if each is None:
                    await asyncio.Event().wait()
                elif isinstance(each, SpeechError):
                    raise each
                else:
                    yield each
                    self.sent += 1
        finally:
            self.closed += 1


@dataclass
class Models:
    """Models that are always ready; reports are recorded."""

    reports: list[tuple[str, int, bool]] = field(default_factory=list)
    readied: int = 0
    asked_about: list[str] = field(default_factory=list)
    failure: SpeechError | None = None
    silent: bool = False

    def generation(self, name: str) -> int:
        return self.readied

    async def ensure_ready(self, name: str) -> None:
        self.readied += 1

    def mark_unavailable(self, name: str, generation: int, *, dead: bool = False) -> None:
        self.reports.append((name, generation, dead))

    async def check_alive(self, name: str, generation: int, process: str) -> None:
        self.asked_about.append(process)
        if self.silent:
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure


def failed(code: ErrorCode) -> SpeechError:
    return SpeechError(code, "of the test")


async def messages_of(utterance: SpeechStream) -> list[Message]:
    """All messages up to the end event. Raises what the stream raises."""
    await utterance.begun()
    received = [await utterance.next()]
    while not isinstance(received[-1].event, EndEvent):
        received.append(await utterance.next())
    return received


def heard(server: Server, models: Models, *, timeout_s: float = 0.0, **options: bool) -> list[Message]:
    """The messages that a client receives of one utterance; the stream is over at the end."""
    retries = options.pop("retries", True)

    async def listen() -> list[Message]:
        utterance = SpeechStream(
            server, "m", SpeechRequest("Hello."), Supervision(models, timeout_s, retries=retries), **options
        )
        try:
            return await messages_of(utterance)
        finally:
            utterance.cancel()
            await utterance.ended()

    return run_in_virtual_time(listen)


def test_audio_and_the_end_are_handed_on_and_start_events_are_reported() -> None:
    started: list[tuple[str, str]] = []

    async def listen() -> list[Message]:
        def note(model: str, event: StartEvent) -> None:
            started.append((model, event.process))

        return await messages_of(
            SpeechStream(Server([START, AUDIO, END]), "m", SpeechRequest("Hello."), Supervision(Models(), started=note))
        )

    assert run_in_virtual_time(listen) == [AUDIO, END]
    assert started == [("m", "first")]


@pytest.mark.parametrize("code", [ErrorCode.MODEL_UNAVAILABLE, ErrorCode.SHUTTING_DOWN, ErrorCode.MODEL_DIED])
def test_an_unavailable_model_is_retried_once_after_it_is_ready_again(code: ErrorCode) -> None:
    server, models = Server([START, failed(code)], [START, AUDIO, END]), Models()
    assert heard(server, models) == [AUDIO, END]
    assert models.readied == 1
    assert models.reports == [("m", 0, code is ErrorCode.MODEL_DIED)]


def test_a_model_that_stays_unavailable_is_an_error_after_the_second_attempt() -> None:
    server = Server(*([failed(ErrorCode.MODEL_UNAVAILABLE)] for _ in range(3)))
    with pytest.raises(SpeechError, match="of the test"):
        heard(server, Models())
    assert server.requests == 2


def test_without_retries_the_first_failure_is_the_last() -> None:
    server, models = Server([failed(ErrorCode.MODEL_UNAVAILABLE)], [AUDIO, END]), Models()
    with pytest.raises(SpeechError, match="of the test"):
        heard(server, models, retries=False)
    assert (server.requests, models.readied) == (1, 0)


def test_nothing_is_said_twice_where_a_model_fails_after_audio() -> None:
    server, models = Server([START, AUDIO, failed(ErrorCode.MODEL_DIED)], [START, AUDIO, END]), Models()
    with pytest.raises(SpeechError, match="of the test"):
        heard(server, models)
    assert server.requests == 1
    assert models.reports == [("m", 0, True)]  # the next request finds another process


def test_a_process_that_was_replaced_is_not_reported_as_crashed() -> None:
    replaced = ReplacedError(ErrorCode.MODEL_DIED, "of the test")
    models = Models()
    assert heard(Server([replaced], [AUDIO, END]), models) == [AUDIO, END]
    assert models.reports == [("m", 0, False)]


@pytest.mark.parametrize("code", [ErrorCode.INVALID_REQUEST, ErrorCode.ENGINE_FAILURE])
def test_a_failure_of_the_request_is_not_retried(code: ErrorCode) -> None:
    server, models = Server([START, failed(code)]), Models()
    with pytest.raises(SpeechError, match="of the test"):
        heard(server, models)
    assert models.reports == []


def test_a_full_queue_is_waited_for_by_the_later_segments_of_a_text_only() -> None:
    full = [START, failed(ErrorCode.QUEUE_FULL)]
    server = Server(full, full, full, [START, AUDIO, END])
    assert heard(server, Models(), may_wait=True) == [AUDIO, END]
    with pytest.raises(SpeechError, match="of the test"):
        heard(Server(full), Models())


def test_a_queue_that_stays_full_is_waited_for_no_longer_than_the_time_out() -> None:
    server = Server(*[[failed(ErrorCode.QUEUE_FULL)]] * 1000)
    with pytest.raises(SpeechError, match="of the test"):
        heard(server, Models(), timeout_s=10, may_wait=True)
    assert 10 < server.requests < 1000


def test_a_text_that_cannot_be_pronounced_is_an_answer_and_no_failure() -> None:
    async def listen() -> SpeechError | None:
        server = Server([START, failed(ErrorCode.UNSPEAKABLE_TEXT)])
        return await SpeechStream(server, "m", SpeechRequest("?"), Supervision(Models())).begun()

    error = run_in_virtual_time(listen)
    assert error is not None
    assert error.code is ErrorCode.UNSPEAKABLE_TEXT


@pytest.mark.parametrize("before", [[], [START], [START, AUDIO]])
def test_a_model_that_stops_sending_is_a_time_out_at_any_point(before: Attempt) -> None:
    server = Server([*before, None])
    with pytest.raises(StreamTimeoutError, match="60 s"):
        heard(server, Models(), timeout_s=60)
    assert server.closed == 1


def test_silence_triggers_a_probe_and_a_crash_ends_the_stream() -> None:
    models = Models(failure=failed(ErrorCode.MODEL_DIED))
    with pytest.raises(SpeechError, match="of the test"):
        heard(Server([START, AUDIO, None]), models)
    assert models.asked_about == ["first"]
    assert models.reports == [("m", 0, True)]


def test_silence_of_a_live_process_goes_on_until_the_time_out() -> None:
    models = Models()
    with pytest.raises(StreamTimeoutError):
        heard(Server([START, AUDIO, None]), models, timeout_s=60)
    assert set(models.asked_about) == {"first"}
    assert len(models.asked_about) > 10


def test_a_probe_without_an_answer_does_not_put_the_time_out_off() -> None:
    with pytest.raises(StreamTimeoutError):
        heard(Server([START, AUDIO, None]), Models(silent=True), timeout_s=60)


def test_a_slow_reader_holds_the_stream_back_and_is_never_a_time_out() -> None:
    many = 10 * BUFFERED_MESSAGES
    server = Server([START, *[AUDIO] * many, END])

    async def listen() -> list[Message]:
        utterance = SpeechStream(server, "m", SpeechRequest("Hello."), Supervision(Models(), 60))
        await utterance.begun()
        await asyncio.sleep(600)
        assert server.sent <= BUFFERED_MESSAGES + 3
        return await messages_of(utterance)

    assert len(run_in_virtual_time(listen)) == many + 1


def test_a_cancelled_stream_closes_its_request() -> None:
    server = Server([START, AUDIO, None])

    async def leave() -> None:
        utterance = SpeechStream(server, "m", SpeechRequest("Hello."), Supervision(Models()))
        await utterance.begun()
        utterance.cancel()
        await utterance.ended()

    run_in_virtual_time(leave)
    assert server.closed == 1


@pytest.mark.parametrize("reason", FinishReason)
def test_an_utterance_that_the_guard_cut_is_marked(reason: FinishReason) -> None:
    end = Message(EndEvent(reason, 2, 1, 0.0, 0.0, 0.0))

    async def listen() -> bool:
        utterance = SpeechStream(Server([AUDIO, end]), "m", SpeechRequest("Hello."), Supervision(Models()))
        await messages_of(utterance)
        return utterance.ran_away

    assert run_in_virtual_time(listen) == (
        reason in {FinishReason.BUDGET, FinishReason.REPETITION, FinishReason.SILENCE}
    )
