"""Names of stored voices, and designed voices with a seed, on an in-process fake Triton."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.fake_models import tone
from tests.support.fake_triton import FakeTriton
from tests.support.replies import check
from tests.support.stack import Frontend

DESIGN = "qwen3_tts_voice_design"
PROMPT = {"type": "prompt", "prompt": "An old man, hoarse and kind.", "language": "english"}


@pytest.fixture(scope="module")
def triton() -> Iterator[FakeTriton]:
    with FakeTriton("qwen3_tts_custom_voice", "qwen3_tts_base", DESIGN) as running:
        running.chunks = 25
        running.chunk = tone()
        yield running


@pytest.fixture
def voices(triton: FakeTriton, tmp_path: Path) -> Iterator[str]:
    """The address of the voices of a server that has none yet."""
    settings = {"default_model": "qwen3_tts_custom_voice", "idle_timeout": 0, "voices_folder": str(tmp_path)}
    with Frontend(triton_url=triton.url, **settings) as frontend:
        triton.requests.clear()
        yield f"{frontend.url}/v1/audio/voices"


def make(voices: str, name: str, **fields: Any) -> dict[str, Any]:
    reply = httpx2.post(voices, json={**PROMPT, "name": name, **fields})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def test_a_voice_gets_another_name_and_keeps_its_id(voices: str) -> None:
    voice = make(voices, "Anna")
    reply = httpx2.post(f"{voices}/{voice['id']}", json={"name": "  Anne "})
    assert reply.status_code == 200
    assert reply.json() == {**voice, "name": "Anne"}
    assert httpx2.get(f"{voices}/{voice['id']}").json()["name"] == "Anne"
    speech = {"input": "Hello.", "voice": "anne", "response_format": "pcm"}
    assert httpx2.post(voices.replace("voices", "speech"), json=speech).status_code == 200
    check(httpx2.post(voices.replace("voices", "speech"), json={**speech, "voice": "Anna"}), 400, "voice")


def test_a_name_may_be_written_otherwise_but_not_taken_from_another_voice(voices: str) -> None:
    anna, bob = make(voices, "Anna"), make(voices, "Bob")
    assert httpx2.post(f"{voices}/{anna['id']}", json={"name": "ANNA"}).status_code == 200
    for name in ("bob", "Vivian", "alloy"):
        check(httpx2.post(f"{voices}/{anna['id']}", json={"name": name}), 400, "name", "voice_name_taken")
    for name in ("", "a+b", "a(2)", "\n", "x" * 65):
        check(httpx2.post(f"{voices}/{anna['id']}", json={"name": name}), 400, "name")
    assert httpx2.get(f"{voices}/{anna['id']}").json()["name"] == "ANNA"
    assert httpx2.get(f"{voices}/{bob['id']}").json()["name"] == "Bob"


def test_a_voice_that_is_not_there_or_built_in_is_not_renamed(voices: str) -> None:
    check(httpx2.post(f"{voices}/voice_{'0' * 32}", json={"name": "Anna"}), 404, "voice_id")
    check(httpx2.post(f"{voices}/vivian", json={"name": "Anna"}), 400, "voice_id", "built_in_voice")


def test_only_the_key_that_made_a_voice_renames_it(triton: FakeTriton, tmp_path: Path) -> None:
    settings = {"default_model": "qwen3_tts_custom_voice", "idle_timeout": 0, "voices_folder": str(tmp_path)}
    with Frontend(triton_url=triton.url, api_keys="sk-anna,sk-bob", **settings) as frontend:
        voices = f"{frontend.url}/v1/audio/voices"
        anna, bob = ({"Authorization": f"Bearer sk-{name}"} for name in ("anna", "bob"))
        made = httpx2.post(voices, json={**PROMPT, "name": "Mine"}, headers=anna).json()
        path = f"{voices}/{made['id']}"
        check(httpx2.post(path, json={"name": "His"}, headers=bob), 404, "voice_id")
        check(httpx2.post(path, json={"name": "His"}), 401, None, "invalid_api_key")
        assert httpx2.post(path, json={"name": "Hers"}, headers=anna).json()["name"] == "Hers"


def test_a_seed_designs_the_voice_that_a_speech_request_with_it_let_hear(voices: str, triton: FakeTriton) -> None:
    said = "Hello, this is my voice."
    speech = {"model": DESIGN, "input": said, "instructions": PROMPT["prompt"], "language": "english", "seed": 42}
    assert httpx2.post(voices.replace("voices", "speech"), json=speech).status_code == 200
    make(voices, "Grandpa", script_hint=said, seed=42)
    heard, kept = triton.requests
    for field in ("TEXT", "INSTRUCT", "LANGUAGE", "SEED"):
        assert heard[field] == kept[field]


def test_a_seed_that_is_none_is_refused(voices: str) -> None:
    check(httpx2.post(voices, json={**PROMPT, "name": "Anna", "seed": "x"}), 400, "seed")
