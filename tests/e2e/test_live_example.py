"""The Python example of docs/live.md, run as printed with its file instead of a sound card."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http_servers import Handler, serving
from tests.support.listening import decode, transcribe, word_error_rate, words
from tests.support.stack import Stack

DOCUMENT = (Path(__file__).parents[2] / "docs/live.md").read_text(encoding="utf-8")
[EXAMPLE] = re.findall(r"```python\n(import asyncio.*?)```", DOCUMENT, re.DOTALL)
FILE = 'open("answer.pcm", "wb")'
STORY = "Once upon a time there was a small boat. Every morning it sailed along the coast, and it came home at night."


class ChatModel(Handler):
    """Streams the story in pieces of five characters."""

    def do_POST(self) -> None:  # noqa: N802 - the name in http.server
        assert self.path == "/v1/chat/completions"
        assert self.read_json()["stream"] is True
        self.start_reply({"content-type": "text/event-stream"})
        for begin in range(0, len(STORY), 5):
            self._send({"content": STORY[begin : begin + 5]})
        self._send({}, "stop")
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, delta: dict[str, str], finish_reason: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")


@pytest.fixture
def chat_model() -> Iterator[str]:
    with serving(ChatModel) as url:
        yield f"{url}/v1"


def run(stack: Stack, folder: Path, code: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    assert f"replace `sounddevice.RawOutputStream(...)` by `{FILE}`, and remove its import" in DOCUMENT
    code = re.sub(r"sounddevice\.RawOutputStream\([^)]+\)", FILE, code).replace(", sounddevice", "")
    code = code.replace("127.0.0.1:8101", stack.frontend.url.removeprefix("http://"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=folder, env={**environment, **variables}, capture_output=True, text=True, timeout=60
    )


def test_the_example_speaks_the_answer_of_a_chat_model(stack: Stack, chat_model: str, tmp_path: Path) -> None:
    done = run(stack, tmp_path, EXAMPLE, OPENAI_API_KEY="unused", OPENAI_BASE_URL=chat_model)
    assert (done.returncode, done.stderr) == (0, "")
    heard = transcribe(decode((tmp_path / "answer.pcm").read_bytes(), "pcm"))
    assert word_error_rate(heard, words(STORY)) <= 0.15, heard


def test_the_example_says_what_is_wrong(stack: Stack, chat_model: str, tmp_path: Path) -> None:
    without_key = run(stack, tmp_path, EXAMPLE, OPENAI_BASE_URL=chat_model)
    assert without_key.returncode == 1
    assert "OPENAI_API_KEY" in without_key.stderr
    code = EXAMPLE.replace('"alloy"', '"nobody"')
    without_voice = run(stack, tmp_path, code, OPENAI_API_KEY="unused", OPENAI_BASE_URL=chat_model)
    assert without_voice.returncode == 1
    assert "'nobody' is not a speaker" in without_voice.stderr
