"""Models on demand of an operator, and Triton's own model control behind its key."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from local_stack.triton_process import TritonProcess
from speech_protocol.control import headers
from tests.e2e.test_errors import check
from tests.support.stack import Frontend
from tests.support.waiting import eventually

ADMIN = {"Authorization": "Bearer admin-1"}
CONTROL_KEY = "control-1"


@pytest.fixture(scope="module")
def triton() -> Iterator[TritonProcess]:
    with TritonProcess(control_key=CONTROL_KEY) as running:
        yield running


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


def test_an_unknown_model_cannot_be_loaded(frontend: Frontend) -> None:
    reply = httpx2.post(f"{frontend.url}/admin/models/nothing/load", headers=ADMIN, timeout=60)
    check(reply, 503, "model", "model_unavailable")


@pytest.mark.parametrize("path", ["models/hibari/load", "models/hibari/unload", "index"])
@pytest.mark.parametrize("key", ["", "control-2"])
def test_triton_lets_nobody_load_a_model_without_its_control_key(triton: TritonProcess, path: str, key: str) -> None:
    reply = httpx2.post(f"{triton.url}/v2/repository/{path}", json={}, headers=headers(key), timeout=10)
    assert reply.status_code == 403


def test_a_frontend_without_the_control_key_says_so(triton: TritonProcess) -> None:
    with Frontend(triton_url=triton.url, default_model="hibari", triton_control_key="control-2") as frontend:
        reply = httpx2.post(f"{frontend.url}/v1/audio/speech", json={"input": "Hello."}, timeout=60)
        check(reply, 503, None, "model_unavailable")
        assert "TRITON_CONTROL_KEY" in reply.json()["error"]["message"]


def test_a_started_triton_listens_on_loopback_only(triton: TritonProcess) -> None:
    listening = [each for each in psutil.Process(triton.pid).net_connections() if each.status == psutil.CONN_LISTEN]
    assert {each.laddr.ip for each in listening} == {"127.0.0.1"}
