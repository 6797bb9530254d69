"""Streaming text that is appended to the utterance in flight, through the WebSocket and a fake Triton."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from openai_frontend.synthesis.live import LiveText, Piece
from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.models import HIBARI, QWEN3_TTS_CUSTOM_VOICE
from tests.support.fake_models import Tensors
from tests.support.fake_stack import FakeStack
from tests.support.live_client import FRAME_BYTES, Client, converse
from tests.support.waiting import eventually

MODEL = QWEN3_TTS_CUSTOM_VOICE.name
FIRST, SECOND = "The children are playing in the garden. ", "Winter was late, and the river stayed open."
WORDS = len((FIRST + SECOND).split())
DONE, COMMIT = {"type": "input.done"}, {"type": "input.commit"}


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStack]:
    with FakeStack(tmp_path_factory.mktemp("fake"), default_model=MODEL, idle_timeout=0) as running:
        yield running


def streams(stack: FakeStack) -> dict[str, list[Tensors]]:
    """The requests of each open stream, by its id."""
    found: dict[str, list[Tensors]] = {}
    for tensors in stack.triton.requests:
        found.setdefault(tensors.get("STREAM_ID", ""), []).append(tensors)
    return found


def test_fast_text_is_appended_to_one_utterance(stack: FakeStack) -> None:
    async def scenario(client: Client) -> None:
        await client.say(FIRST)
        await client.spoken(7)  # before the rest is written
        for at in range(0, len(SECOND), 5):
            await client.say(SECOND[at : at + 5])
        await client.say("", DONE)
        assert (await client.until("session.done"))["total_sentences"] == 1

    converse(stack.frontend.url, MODEL, scenario)
    [requests] = streams(stack).values()
    assert requests[0]["STREAM_ACTION"] == "open"
    assert requests[-1]["STREAM_ACTION"] == "close"
    assert {each["STREAM_ACTION"] for each in requests[1:-1]} <= {"append"}
    assert "".join(each["TEXT"] for each in requests) == FIRST + SECOND


def test_a_flush_ends_the_utterance_and_later_text_begins_another(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openai_frontend.synthesis.live._MIN_WIDTH_PER_S", 0.0)  # however slow the machine is

    async def scenario(client: Client) -> None:
        await client.say(FIRST)
        await client.spoken(7)
        await client.say("And so", COMMIT)
        await client.say(SECOND)
        await client.spoken(7 + 2 + 8)
        await client.say("", DONE)
        await client.until("session.done")

    converse(stack.frontend.url, MODEL, scenario)
    texts = ["".join(each["TEXT"] for each in requests) for requests in streams(stack).values()]
    assert texts == [FIRST + "And so", SECOND]


def test_a_model_that_takes_whole_texts_gets_sentences(stack: FakeStack) -> None:
    def refuse(model: str, tensors: Tensors) -> SpeechError | None:
        is_stream = "STREAM_ACTION" in tensors
        return SpeechError(ErrorCode.UNSUPPORTED_TASK, "Send the whole text.", "stream_id") if is_stream else None

    async def scenario(client: Client) -> None:
        await client.say(FIRST + SECOND, DONE)
        await client.until("session.done")
        await client.say(FIRST)
        await client.say(SECOND, DONE)
        await client.until("session.done")

    stack.triton.check = refuse
    converse(stack.frontend.url, MODEL, scenario)
    texts = [each["TEXT"] for each in stack.triton.requests if "STREAM_ACTION" not in each]
    assert "".join(texts).replace(" ", "") == (FIRST + SECOND).replace(" ", "") * 2


@pytest.mark.parametrize("append", [True, False])
def test_live_append_off_gives_sentences(tmp_path_factory: pytest.TempPathFactory, append: bool) -> None:
    async def scenario(client: Client) -> None:
        await client.say(FIRST + "Wi")
        await client.spoken(7)
        await client.say(SECOND[2:], DONE)
        await client.until("session.done")

    folder = tmp_path_factory.mktemp("fake")
    with FakeStack(folder, default_model=MODEL, idle_timeout=0, live_append=append) as stack:
        converse(stack.frontend.url, MODEL, scenario)
        assert any("STREAM_ACTION" in each for each in stack.triton.requests) is append


def test_an_utterance_that_ends_by_itself_leaves_the_rest_to_the_next_one(stack: FakeStack) -> None:
    stack.triton.open_texts.words = 7

    async def scenario(client: Client) -> None:
        await client.say(FIRST)
        await client.spoken(7)
        await client.say(SECOND, DONE)
        await client.until("session.done")

    converse(stack.frontend.url, MODEL, scenario)
    taken = ["".join(each["TEXT"] for each in requests) for requests in streams(stack).values()]
    assert "".join(taken).endswith(SECOND)


def test_a_text_that_stops_arriving_fails_the_utterance_and_frees_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    async def scenario(client: Client) -> None:
        await client.say(FIRST)
        error = await client.until("error")
        assert error["code"] == "request_timeout"

    folder = tmp_path_factory.mktemp("fake")
    with FakeStack(folder, default_model=MODEL, idle_timeout=0, live_idle_timeout=0.2) as stack:
        converse(stack.frontend.url, MODEL, scenario)
        eventually(lambda: stack.triton.active == 0, "the utterance is cancelled")


def test_cancel_frees_the_utterance_while_it_waits_for_text(stack: FakeStack) -> None:
    async def scenario(client: Client) -> None:
        await client.say(FIRST)
        await client.spoken(7)
        await client.say("", {"type": "input.cancel"})
        await client.until("audio.cancelled")
        await asyncio.to_thread(eventually, lambda: stack.triton.active == 0, "the utterance is cancelled")

    converse(stack.frontend.url, MODEL, scenario)


def test_text_is_fast_if_it_arrives_as_fast_as_an_utterance_takes_it() -> None:
    for per_s, fast in ((20.0, False), (100.0, True)):
        now_s = [0.0]
        text = LiveText(1000, 0, lambda now_s=now_s: now_s[0])  # type: ignore[misc]
        for word in FIRST.split(" "):
            text.append(word + " ")
            now_s[0] += len(word + " ") / per_s
        now_s[0] += 100  # a model is loaded in the meantime
        assert text.arrives_fast is fast


def test_a_pause_after_a_flush_does_not_make_a_text_slow() -> None:
    now_s = [0.0]
    text = LiveText(1000, 0, lambda: now_s[0])
    text.append("One moment, please. ")
    text.flush()
    now_s[0] += 20  # the assistant calls a tool
    for word in FIRST.split(" "):
        text.append(word + " ")
        now_s[0] += len(word + " ") / 100
    assert text.arrives_fast
    now_s[0] += 20  # in the middle of a sentence
    text.append("and")
    assert not text.arrives_fast


def test_what_is_taken_back_is_spoken_as_sentences() -> None:
    async def scenario() -> None:
        text = LiveText(1000, 0)
        text.append(FIRST + "Win")
        assert await text.begin() == Piece(FIRST + "Win", final=False)
        text.append("ter was late. ")
        assert await text.more() == Piece("ter was late. ", final=False)
        text.take_back()
        assert await text.next() == FIRST
        text.close()
        assert await text.next() == "Winter was late. "
        assert await text.next() is None

    asyncio.run(scenario())


def test_the_pause_after_a_sentence_passes_while_the_next_one_is_written(stack: FakeStack) -> None:
    async def scenario(client: Client) -> None:
        await client.say(f"{FIRST}Wi")
        pause = bytes(round(0.4 * SAMPLE_RATE_HZ) * SAMPLE_BYTES)
        while not client.audio.endswith(pause):
            await client.spoken(len(client.audio) // FRAME_BYTES + 5)
        await client.say(SECOND[2:], DONE)
        await client.until("session.done")

    converse(stack.frontend.url, HIBARI.name, scenario)


def test_audio_that_is_still_read_is_whole_when_no_more_text_arrives(tmp_path_factory: pytest.TempPathFactory) -> None:
    gate = "the rest of the audio"

    async def scenario(client: Client) -> None:
        await client.say(json.dumps({"chunks": 40, "hold": gate}), COMMIT)
        await client.spoken(5)
        assert await client.is_silent_for(0.5)  # longer than the server waits for text
        stack.triton.release(gate)
        await client.spoken(40)
        assert (await client.until("error"))["code"] == "request_timeout"

    folder = tmp_path_factory.mktemp("fake")
    with FakeStack(folder, default_model="scripted", idle_timeout=0, live_idle_timeout=0.2) as stack:
        converse(stack.frontend.url, "scripted", scenario)
