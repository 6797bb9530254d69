"""POST /v1/audio/speech/resolve: the same names as for speech, with recordings for the key's holders only."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from speech_protocol.control import HEADER
from tests.openai_frontend.api.test_voices import NO_TRITON, create
from tests.support.replies import check
from tests.support.stack import Frontend

PATH = "/v1/audio/speech/resolve"


@pytest.fixture
def frontend(tmp_path: Path) -> Iterator[Frontend]:
    names = {"herald": "Anna"}
    with Frontend(triton_url=NO_TRITON, voices_folder=str(tmp_path), voice_names=names) as running:
        yield running


def resolve(frontend: Frontend, headers: dict[str, str] | None = None, **fields: Any) -> httpx2.Response:
    body = {"input": "x", **fields}
    return httpx2.post(f"{frontend.url}{PATH}", json=body, headers=headers, timeout=30)


def test_names_are_resolved_as_for_speech_without_asking_triton(frontend: Frontend) -> None:
    create(frontend)
    built_in = resolve(frontend, voice="alloy", language="de", model="qwen3_tts_custom_voice").json()
    assert (built_in["model"], built_in["inputs"]["SPEAKER"]) == ("qwen3_tts_custom_voice", "ryan")
    assert built_in["inputs"]["LANGUAGE"] == "german"
    cloned = resolve(frontend, voice="herald", model="tts-1").json()
    assert cloned["model"] == "qwen3_tts_base"
    assert len(base64.b64decode(cloned["inputs"]["REF_AUDIO"])) > 1_000
    assert cloned["checkpoint"]


def test_what_speech_refuses_is_refused(frontend: Frontend) -> None:
    check(resolve(frontend, voice="nobody", model="qwen3_tts_custom_voice"), 400, "voice", "unknown_speaker")
    check(resolve(frontend, model="nothing"), 404, "model", "model_not_found")
    assert resolve(frontend, language="klingon").json()["error"]["param"] == "language"


@pytest.mark.parametrize("sent", ["", "wrong"])
def test_a_server_with_keys_resolves_for_the_holder_of_the_control_key_only(tmp_path: Path, sent: str) -> None:
    settings = {"api_keys": "sk-1", "triton_control_key": "secret", "voices_folder": str(tmp_path)}
    with Frontend(triton_url=NO_TRITON, **settings) as frontend:
        key = {"Authorization": "Bearer sk-1"}
        assert resolve(frontend, {HEADER: "secret"}).status_code == 401
        refused = resolve(frontend, {**key, HEADER: sent})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "control_key_required")
        assert resolve(frontend, {**key, HEADER: "secret"}).status_code == 200


def test_a_server_with_api_keys_and_no_control_key_resolves_for_no_client(tmp_path: Path) -> None:
    with Frontend(triton_url=NO_TRITON, api_keys="sk-1", voices_folder=str(tmp_path)) as frontend:
        assert resolve(frontend, {"Authorization": "Bearer sk-1"}).status_code == 403
