"""Errors of an engine, in OpenAI's shape."""

import httpx2

from tests.openai_frontend.api.test_errors import GOOD
from tests.support.replies import check
from tests.support.stack import Stack


def test_an_unknown_voice_is_an_error_that_lists_the_voices(stack: Stack) -> None:
    reply = httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json={**GOOD, "voice": "nobody"}, timeout=30)
    message = check(reply, 400, "voice", "unknown_speaker")
    assert "heart" in message
    assert "OpenAI's voice names work too" in message


def test_a_language_that_the_model_does_not_speak_names_the_field(stack: Stack) -> None:
    reply = httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json={**GOOD, "language": "german"}, timeout=30)
    check(reply, 400, "language", "unsupported_language")
