"""A script's segments, some of them runaways: synthesized once more if nothing of them was sent yet."""

import asyncio
from collections.abc import AsyncGenerator

import numpy as np
import pytest

from openai_frontend.models.lifecycle import Lifecycle
from openai_frontend.synthesis.segments import play_script
from speech_client.stream import SpeechStream, Supervision
from speech_client.triton import Message, Triton
from speech_protocol.events import AudioEvent, EndEvent, FinishReason
from speech_protocol.request import SpeechRequest

SOUND = np.full(4_800, 5_000, "<i2").tobytes()
SILENCE = bytes(9_600)
TRITON = Triton("http://127.0.0.1:9", 1)
Attempts = list[tuple[int, int]]


def end(reason: FinishReason) -> Message:
    return Message(EndEvent(reason, 4_800, 3, 0.0, 0.1, 0.2))


def heard(
    script: tuple[str, ...], runaways: dict[tuple[int, int], bytes], *, retries: bool
) -> tuple[Attempts, EndEvent]:
    """Segments begun, as (number, attempt), and the end. Runaways say their bytes, and are ended by the guard before
    the first segment is."""
    attempts: Attempts = []
    over, listened = asyncio.Event(), asyncio.Event()

    class Scripted:
        """A Triton whose models follow the script; the model's name is the segment's number and attempt."""

        def speak(self, model: str, request: SpeechRequest) -> AsyncGenerator[Message, None]:
            return messages(*map(int, model.split()))

    def speak(number: int, text: str, attempt: int) -> SpeechStream:
        attempts.append((number, attempt))
        return SpeechStream(Scripted(), f"{number} {attempt}", SpeechRequest(text), Supervision(Lifecycle(TRITON, 0)))

    async def messages(number: int, attempt: int) -> AsyncGenerator[Message, None]:
        pcm = runaways.get((number, attempt))
        yield Message(AudioEvent(4_800), SOUND if pcm is None else pcm)
        if number == 0 and len(script) > 1:
            await over.wait()  # those ahead come to their ends first
        elif number == 0 and pcm == SOUND:
            await listened.wait()
        yield end(FinishReason.STOP if pcm is None else FinishReason.REPETITION)
        if number == len(script) - 1:
            over.set()

    async def listen() -> EndEvent:
        last = None
        async for message in play_script(script, speak, lambda: 2, 0.1, retries=retries):
            last = message.event
            listened.set()
        assert isinstance(last, EndEvent)
        return last

    async def bounded() -> EndEvent:
        return await asyncio.wait_for(listen(), 30)

    return attempts, asyncio.run(bounded())


def test_a_segment_that_ran_away_before_it_was_due_is_synthesized_once_more() -> None:
    attempts, total = heard(("one", "two", "three"), {(1, 0): SOUND}, retries=True)
    assert attempts == [(0, 0), (1, 0), (2, 0), (1, 1)]
    assert total.finish_reason is FinishReason.STOP
    assert total.audio_samples == 3 * 4_800


def test_a_segment_that_made_no_sound_is_spoken_once_more() -> None:
    attempts, total = heard(("one",), {(0, 0): SILENCE}, retries=True)
    assert attempts == [(0, 0), (0, 1)]
    assert total.finish_reason is FinishReason.STOP


@pytest.mark.parametrize("runaways", [{(0, 0): SOUND}, {(0, 0): SILENCE, (0, 1): SOUND}], ids=["heard", "twice"])
def test_a_segment_of_which_something_was_heard_or_that_runs_away_again_ends_there(
    runaways: dict[tuple[int, int], bytes],
) -> None:
    attempts, total = heard(("one",), runaways, retries=True)
    assert len(attempts) == len(runaways)
    assert total.finish_reason is FinishReason.REPETITION


def test_a_request_with_a_seed_gets_what_the_seed_gives() -> None:
    attempts, total = heard(("one", "two"), {(1, 0): SOUND}, retries=False)
    assert attempts == [(0, 0), (1, 0)]
    assert total.finish_reason is FinishReason.REPETITION
