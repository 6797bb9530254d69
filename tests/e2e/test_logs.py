"""The log never contains the text of requests."""

import json
import logging
from collections.abc import Iterator

import httpx2
import pytest

from tests.openai_frontend.audio.signals import voice, with_soundfile
from tests.support.stack import Stack

SECRET = "rumpelstiltskin"
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("logs")
    with Stack(folder, default_model="hibari", default_voice="alloy", idle_timeout=0) as running:
        yield running


def bodies() -> list[dict[str, object]]:
    text = f"My name is {SECRET}."
    script = json.dumps({"name": "quiet", "chunks": 2, "fail_after": 1, "note": SECRET})
    return [
        {"input": text, "instructions": text},
        {"input": f"{text} " * 20, "stream_format": "sse"},
        {"input": text, "speed": SECRET},
        {"input": text, "voice": SECRET},
        {"input": text, "model": SECRET},
        {"input": [text]},
        {"input": text, "ref_audio": f"data:audio/wav;base64,{SECRET}", "ref_text": text},
        # One that fails in the engine midway, and one that is invalid.
        {"input": script, "model": "scripted"},
        {"input": f"{{ {SECRET}", "model": "scripted"},
    ]


def test_no_word_of_a_request_is_in_the_logs(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with httpx2.Client(base_url=stack.frontend.url, timeout=TIMEOUT_S) as client:
        statuses = set()
        for body in bodies():
            with client.stream("POST", "/v1/audio/speech", json=body) as reply:
                statuses.add(reply.status_code)
                try:
                    list(reply.iter_raw())
                except httpx2.RemoteProtocolError:
                    statuses.add(0)
        damaged = json.dumps(bodies()[0]).encode()[:-1]
        statuses.add(client.post("/v1/audio/speech", content=damaged).status_code)
        recording = with_soundfile(voice(150, 1.5), 24_000)
        for file in (recording, SECRET.encode()):
            form = {"name": (None, SECRET), "audio_sample": (f"{SECRET}.wav", file), "ref_text": (None, SECRET)}
            statuses.add(client.post("/v1/audio/voices", files=form).status_code)
    assert {0, 200, 400} <= statuses, statuses
    assert "loaded scripted" in caplog.text
    assert "scripted failure" in "\n".join(stack.triton.log)
    assert SECRET not in caplog.text
    # An expected failure is one line, not a traceback.
    assert not [record for record in caplog.records if record.exc_info]
    assert SECRET not in "\n".join(stack.triton.log)
