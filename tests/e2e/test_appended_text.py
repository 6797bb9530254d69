"""Streaming text that is appended to a running utterance of Qwen3-TTS, through a real tritonserver."""

import asyncio
import json
from collections.abc import Iterator

import aiohttp
import pytest

from speech_protocol.models import QWEN3_TTS_CUSTOM_VOICE
from tests.support.stack import Stack, qwen_stack
from tests.support.types import CheckpointOf

MODEL = QWEN3_TTS_CUSTOM_VOICE.name
TEXT = "One fine day. A second sentence, and a third one! Was that all? Nearly so."
WAIT_S = 240


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: CheckpointOf) -> Iterator[Stack]:
    with qwen_stack(tmp_path_factory.mktemp("qwen"), tiny_checkpoint) as running:
        yield running


def speak(stack: Stack, pieces: list[str]) -> tuple[bytes, int]:
    """The audio of a text in pieces, each sent when there is audio of those before, and the number of utterances."""

    async def scenario() -> tuple[bytes, int]:
        url = f"{stack.frontend.url}/v1/audio/speech/stream"
        async with asyncio.timeout(WAIT_S), aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            config = {"model": MODEL, "response_format": "pcm", "seed": 5, "max_audio_seconds": 20}
            await socket.send_json({"type": "session.config", **config})
            audio, heard, rest = b"", -1, list(pieces)
            while True:
                if len(audio) > heard and rest:
                    heard = len(audio)
                    await socket.send_json({"type": "input.text", "text": rest.pop(0)})
                    if not rest:
                        await socket.send_json({"type": "input.done"})
                message = await socket.receive()
                if message.type is aiohttp.WSMsgType.BINARY:
                    audio += message.data
                    continue
                fields = json.loads(message.data)
                assert fields["type"] != "error", fields
                if fields["type"] == "session.done":
                    return audio, fields["total_sentences"]

    return asyncio.run(scenario())


def test_sentences_that_are_written_during_synthesis_are_one_utterance(qwen: Stack) -> None:
    words = [word + " " for word in TEXT.split()]
    begin = "".join(words[:3])
    by_word, utterances = speak(qwen, [begin, *words[3:]])
    assert utterances == 1
    in_two, utterances = speak(qwen, [begin, "".join(words[3:])])
    assert utterances == 1
    # The seam of chunks may differ in a bit; see the engine's tests for equality.
    assert len(by_word) == len(in_two) > len(words) * 1920
