"""WebSockets, which need no preflight and have no method: the guards of routes apply to them, too."""

import asyncio
from pathlib import Path

import pytest
from fastapi import WebSocket
from starlette.types import Message

from openai_frontend.app import create_app
from speech_protocol.models import HIBARI
from tests.support.fake_stack import FakeStack
from tests.support.live_client import Client, converse
from tests.support.stack import GivenSettings

KEY = {"authorization": "Bearer sk-1"}


def first_answer(headers: dict[str, str], api_keys: str = "sk-1") -> Message:
    """The answer to a client that opens a WebSocket on a route of the app."""
    app = create_app(GivenSettings(api_keys=api_keys, cors_origins="https://app.example"))

    @app.websocket("/v1/test")
    async def accept(websocket: WebSocket) -> None:
        await websocket.accept()

    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in {"host": "localhost", **headers}.items()]
    scope = {"type": "websocket", "path": "/v1/test", "raw_path": b"", "query_string": b"", "headers": pairs}
    asyncio.run(app(scope, receive, send))
    return sent[0]


def test_a_websocket_opens_with_a_key_and_for_the_servers_own_page() -> None:
    for headers in ({}, {"origin": "http://localhost"}, {"origin": "https://app.example"}):
        assert first_answer({**KEY, **headers})["type"] == "websocket.accept"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "invalid_api_key"),
        ({"authorization": "Bearer sk-2"}, "invalid_api_key"),
        ({**KEY, "origin": "https://elsewhere.example"}, "origin_not_allowed"),
        ({**KEY, "sec-fetch-site": "cross-site"}, "origin_not_allowed"),
        ({**KEY, "host": "elsewhere.example"}, "host_not_allowed"),
    ],
)
def test_a_websocket_is_refused_as_a_request_is(headers: dict[str, str], reason: str) -> None:
    answer = first_answer(headers)
    assert (answer["type"], answer["code"], answer["reason"]) == ("websocket.close", 1008, reason)


def test_a_websocket_stays_open_for_longer_than_the_head_or_the_body_of_a_request_may_take(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        await client.say("Good morning to all of you.", {"type": "input.commit"})
        await client.spoken(10)
        assert await client.is_silent_for(1.0)
        await client.say("And the rest.", {"type": "input.done"})
        await client.until("session.done")

    times = {"header_timeout": 0.1, "body_timeout": 0.1}
    with FakeStack(tmp_path, default_model=HIBARI.name, idle_timeout=0, **times) as stack:
        converse(stack.frontend.url, HIBARI.name, scenario)
