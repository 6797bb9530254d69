"""Word times of Qwen3-TTS by the aligner, behind the audio, through HTTP and a fake Triton."""

import base64
import json
import uuid
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx2
import pytest

from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.models import ALIGNER, QWEN3_TTS_CUSTOM_VOICE
from tests.support.fake_models import Tensors
from tests.support.fake_stack import FakeStack
from tests.support.live_client import Client, converse
from tests.support.waiting import eventually

MODEL = QWEN3_TTS_CUSTOM_VOICE.name
SENTENCES = ("The children are playing in the garden. ", "Winter was late, and the river stayed open. ") * 6
TEXT = "".join(SENTENCES).strip()


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStack]:
    folder = tmp_path_factory.mktemp("fake")
    with FakeStack(folder, default_model=MODEL, idle_timeout=0, aligner_model_id="some/aligner") as running:
        yield running


def events(reply: httpx2.Response) -> list[dict[str, Any]]:
    assert reply.status_code == 200, reply.text
    return [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")]


def body(**fields: Any) -> dict[str, Any]:
    times = {"stream_format": "sse", "timestamp_granularities": ["word"]}
    return {"model": MODEL, "input": TEXT, "response_format": "pcm", **times, **fields}


def speak(stack: FakeStack, **fields: Any) -> list[dict[str, Any]]:
    return events(httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json=body(**fields), timeout=60))


def words_of(received: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [word for event in received for word in event.get("words", ())]


@pytest.mark.parametrize("speed", [1.0, 2.0])
def test_the_words_of_all_segments_come_in_order_with_times_in_the_replys_audio(stack: FakeStack, speed: float) -> None:
    received = speak(stack, speed=speed)
    words = words_of(received)
    assert [word["word"] for word in words] == TEXT.split()
    times = [time for word in words for time in (word["start"], word["end"])]
    assert all(before <= after + 0.002 for before, after in pairwise(times))
    audio_s = sum(len(base64.b64decode(event.get("audio", ""))) for event in received) / 2 / 24_000
    assert times[0] < 0.1
    assert audio_s - 1 < times[-1] <= audio_s + 0.01
    texts = [each["TEXT"] for each in stack.triton.requests if "REF_AUDIO" in each]
    assert " ".join(texts).split() == TEXT.split()
    assert len(texts) > 1


def test_audio_does_not_wait_for_the_aligner(stack: FakeStack) -> None:
    speak(stack, timestamp_granularities=None)  # the voice is loaded
    stack.triton.hold_loads = gate = uuid.uuid4().hex
    audio_s = 0.0
    received = []
    url = f"{stack.frontend.url}/v1/audio/speech"
    with httpx2.Client(timeout=60) as client, client.stream("POST", url, json=body()) as reply:
        for line in reply.iter_lines():
            if not line.startswith("data: "):
                continue
            received.append(json.loads(line[6:]))
            audio_s += len(base64.b64decode(received[-1].get("audio", ""))) / 2 / 24_000
            if audio_s > 0.06 * len(TEXT) - 1 and stack.triton.hold_loads:
                assert not words_of(received)
                stack.triton.hold_loads = None
                stack.triton.release(gate)
    assert [word["word"] for word in words_of(received)] == TEXT.split()


def test_an_aligner_that_fails_leaves_the_audio_whole_and_says_why_words_are_missing(stack: FakeStack) -> None:
    def refuse(model: str, tensors: Tensors) -> SpeechError | None:
        is_aligner = model == ALIGNER.name
        return SpeechError(ErrorCode.OUT_OF_MEMORY, "There is no memory left.") if is_aligner else None

    stack.triton.check = refuse
    received = speak(stack)
    assert not words_of(received)
    assert received[-1]["type"] == "speech.audio.done"
    [warning] = received[-1]["warnings"]
    assert warning == "word timestamps are missing for parts of the text: There is no memory left."


def test_without_an_aligner_the_error_names_what_to_set(tmp_path_factory: pytest.TempPathFactory) -> None:
    with FakeStack(tmp_path_factory.mktemp("fake"), default_model=MODEL, idle_timeout=0) as stack:
        reply = httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json=body(), timeout=60)
        assert reply.status_code == 400
        error = reply.json()["error"]
        assert error["param"] == "timestamp_granularities"
        assert "ALIGNER_MODEL_ID=Qwen/Qwen3-ForcedAligner-0.6B" in error["message"]


def test_captions_and_live_speech_have_the_words_too(stack: FakeStack) -> None:
    request = {"model": MODEL, "input": TEXT, "response_format": "pcm", "stream": True, "return_timestamps": True}
    reply = httpx2.post(f"{stack.frontend.url}/dev/captioned_speech", json=request, timeout=60)
    objects = [json.loads(line) for line in reply.text.splitlines()]
    assert [word["word"] for each in objects for word in each["timestamps"]] == TEXT.split()

    async def scenario(client: Client) -> None:
        await client.say(TEXT, {"type": "input.done"})
        await client.until("session.done")

    client = converse(stack.frontend.url, MODEL, scenario, word_timestamps=True)
    assert [word["word"] for word in client.words] == TEXT.split()


def test_a_client_that_disconnects_frees_the_aligner(stack: FakeStack) -> None:
    url = f"{stack.frontend.url}/v1/audio/speech"
    with httpx2.Client(timeout=60) as client, client.stream("POST", url, json=body()) as reply:
        next(reply.iter_raw())
    eventually(lambda: stack.triton.active == 0, "the models are idle")
    eventually(lambda: stack.frontend.health()["pending_requests"] == 0, "the request has ended")


def test_an_aligner_whose_weights_are_missing_is_a_warning_first_and_then_a_400_that_names_them(
    stack: FakeStack,
) -> None:
    why = "some/aligner is not on this machine. Set ALIGNER_MODEL_ID to a checkpoint folder."
    stack.triton.load_errors[ALIGNER.name] = SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, why).to_text()
    [warning] = speak(stack)[-1]["warnings"]
    assert why in warning

    def refused() -> bool:
        reply = httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json=body(), timeout=60)
        return reply.status_code == 400 and why in reply.json()["error"]["message"]

    eventually(refused, "the error names what is missing")
    speak(stack, timestamp_granularities=["segment"])
