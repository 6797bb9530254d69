"""The admin routes, and Triton's own model control with its key."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import httpx2
import psutil
import pytest

from client import batch_synthesize, load_test
from local_stack.triton_process import TritonProcess
from speech_protocol import control
from speech_protocol.request import SpeechRequest
from tests.support.replies import check
from tests.support.stack import Frontend
from tests.support.waiting import eventually

ADMIN = {"Authorization": "Bearer admin-1"}
CONTROL_KEY = "control-1"
SECRET = "not-for-models"
SPOKEN = json.dumps(SpeechRequest("Hello.", max_audio_seconds=0.2).to_tensors())


@pytest.fixture(scope="module")
def triton() -> Iterator[TritonProcess]:
    keys = dict.fromkeys(("API_KEYS", "API_KEYS_FILE", "ADMIN_KEY", "admin_key", "TRITON_CONTROL_KEY"), SECRET)
    with mock.patch.dict(os.environ, {**keys, "MAX_QUEUE": "7"}):
        triton = TritonProcess(control_key=CONTROL_KEY)
        triton.__enter__()
    yield triton
    triton.stop()


@pytest.fixture
def frontend(triton: TritonProcess, tmp_path: Path) -> Iterator[Frontend]:
    key = tmp_path / "control-key"
    key.write_text(CONTROL_KEY + "\n")
    settings = {"default_model": "hibari", "idle_timeout": 0, "admin_key": "admin-1", "api_keys": "sk-1"}
    with Frontend(triton_url=triton.url, triton_control_key_file=str(key), **settings) as running:
        yield running


def order(frontend: Frontend, what: str, authorization: dict[str, str] = ADMIN) -> httpx2.Response:
    return httpx2.post(f"{frontend.url}/admin/models/hibari/{what}", headers=authorization, timeout=60)


def test_a_model_is_loaded_and_unloaded_on_demand(frontend: Frontend) -> None:
    assert order(frontend, "load").json() == {"model": "hibari", "state": "ready"}
    assert frontend.model_state("hibari") == "ready"
    assert order(frontend, "unload").json() == {"model": "hibari", "state": "unloaded"}
    eventually(lambda: frontend.model_state("hibari") == "unloaded", "it is gone")
    order(frontend, "load")
    client = frontend.openai(api_key="sk-1")
    assert client.audio.speech.create(model="tts-1", voice="alloy", input="Hello.").content


@pytest.mark.parametrize("authorization", [{}, {"Authorization": "Bearer sk-1"}, {"Authorization": "Basic admin-1"}])
def test_the_admin_routes_have_a_key_of_their_own(frontend: Frontend, authorization: dict[str, str]) -> None:
    check(order(frontend, "load", authorization), 401, None, "invalid_admin_key")


def test_without_an_admin_key_there_are_no_admin_routes(triton: TritonProcess) -> None:
    with Frontend(triton_url=triton.url, triton_control_key=CONTROL_KEY) as frontend:
        check(order(frontend, "load"), 403, None, "admin_disabled")


@pytest.mark.parametrize("what", ["load", "unload"])
def test_an_unknown_model_is_a_404_that_lists_the_models(frontend: Frontend, what: str) -> None:
    reply = httpx2.post(f"{frontend.url}/admin/models/nothing/{what}", headers=ADMIN, timeout=60)
    assert "hibari" in check(reply, 404, "model", "model_not_found")


@pytest.mark.parametrize("path", ["models/hibari/load", "models/hibari/unload", "index"])
@pytest.mark.parametrize("key", ["", "control-2"])
def test_triton_loads_no_model_without_its_control_key(triton: TritonProcess, path: str, key: str) -> None:
    reply = httpx2.post(f"{triton.url}/v2/repository/{path}", json={}, headers=control.headers(key), timeout=10)
    assert reply.status_code == 403


@pytest.mark.parametrize("call", ["generate_stream", "generate", "infer", "versions/1/generate_stream"])
@pytest.mark.parametrize("headers", [{"Content-Type": "text/plain"}, {"triton-control-key": "control-2"}], ids=str)
def test_triton_synthesizes_nothing_without_its_control_key(
    frontend: Frontend, triton: TritonProcess, call: str, headers: dict[str, str]
) -> None:
    order(frontend, "load")
    for model in ("hibari", "speech_batch"):
        url = f"{triton.url}/v2/models/{model}/{call}"
        assert httpx2.post(url, content=SPOKEN, headers=headers, timeout=10).status_code == 403


def test_the_scripts_for_triton_speak_with_its_control_key_and_not_without(
    triton: TritonProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("Hello.")
    address = triton.url.partition("://")[2]
    book = ["a.txt", "-o", "out", "--no-server", "--triton", address, "--patience", "0"]
    load = [f"triton+{triton.url}", "--clients", "1", "--seconds", "0.1"]
    for key, statuses in (("", (2, 2)), (CONTROL_KEY, (0, 0))):
        monkeypatch.setenv("TRITON_CONTROL_KEY", key)
        for main, arguments, status in zip(
            (batch_synthesize.main, load_test.main), (book, load), statuses, strict=True
        ):
            with pytest.raises(SystemExit) as exit_:
                main(arguments)
            assert exit_.value.code == status


def test_no_key_of_the_frontend_is_in_the_environment_of_triton_and_its_models(
    frontend: Frontend, triton: TritonProcess
) -> None:
    order(frontend, "load")
    server = psutil.Process(triton.pid)
    processes = [server, *server.children(recursive=True)]
    assert len(processes) > 1
    for process in processes:
        environment = process.environ()
        assert environment["MAX_QUEUE"] == "7"
        assert SECRET not in environment.values()


def test_a_frontend_without_the_control_key_says_so(triton: TritonProcess) -> None:
    with Frontend(triton_url=triton.url, default_model="hibari", triton_control_key="control-2") as frontend:
        reply = httpx2.post(f"{frontend.url}/v1/audio/speech", json={"input": "Hello."}, timeout=60)
        check(reply, 503, None, "model_unavailable")
        assert "TRITON_CONTROL_KEY" in reply.json()["error"]["message"]


def test_a_started_triton_listens_on_loopback_only(triton: TritonProcess) -> None:
    listening = [each for each in psutil.Process(triton.pid).net_connections() if each.status == psutil.CONN_LISTEN]
    assert {each.laddr.ip for each in listening} == {"127.0.0.1"}
