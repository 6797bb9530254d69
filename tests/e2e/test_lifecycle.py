"""Load on demand, one load for concurrent requests, unload when idle: observed in Triton's index and in the models'
processes."""

import contextlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import httpx2
import pytest
import tritonclient.http

from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.request import SpeechRequest
from tests.support.processes import stubs
from tests.support.slow_reader import SlowReader
from tests.support.stack import Gate, Stack
from tests.support.waiting import eventually

IDLE_TIMEOUT_S = 2.5


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with a short idle timeout."""
    folder = tmp_path_factory.mktemp("lifecycle")
    with Stack(folder, default_model="hibari", idle_timeout=IDLE_TIMEOUT_S) as running:
        yield running


def is_cold(stack: Stack) -> bool:
    return stack.frontend.model_state("scripted") == "unloaded" and not stubs(stack)


def speak(stack: Stack, name: str, **script: object) -> httpx2.Response:
    body = {"model": "scripted", "input": json.dumps({"name": name, **script}), "response_format": "pcm"}
    return httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json=body, timeout=60)


def loads(stack: Stack) -> int:
    return stack.script_log().count("loaded")


def test_ten_requests_at_once_on_a_cold_model_share_one_load(stack: Stack, name: str) -> None:
    eventually(lambda: is_cold(stack), "the model is unloaded")
    before = loads(stack)
    with ThreadPoolExecutor(10) as threads:
        replies = list(threads.map(lambda number: speak_when_admitted(stack, f"{name}-{number}"), range(10)))
    assert {reply.status_code for reply in replies} == {200}
    assert loads(stack) == before + 1


def speak_when_admitted(stack: Stack, name: str) -> httpx2.Response:
    """The scripted engine's queue holds two: retry, as clients do."""
    replies = [speak(stack, name, chunks=1)]

    def admitted() -> bool:
        if replies[-1].status_code == 503:
            replies.append(speak(stack, name, chunks=1))
        return replies[-1].status_code != 503

    eventually(admitted, "the request is admitted")
    return replies[-1]


def test_an_idle_model_is_unloaded_and_its_process_ends(stack: Stack, name: str) -> None:
    assert speak(stack, name, chunks=1).status_code == 200
    assert stack.frontend.model_state("scripted") == "ready"
    [stub] = stubs(stack)
    eventually(lambda: stack.frontend.model_state("scripted") == "unloaded", "the idle model is unloaded")
    eventually(lambda: not stub.is_running(), "its process ends")
    assert stack.script_log()[-1] == "closed"


def test_health_shows_what_a_model_notes_of_itself_while_it_is_loaded(stack: Stack, name: str) -> None:
    assert speak(stack, name, chunks=1).status_code == 200
    assert stack.frontend.health()["models"]["scripted"]["notes"] == ["It makes tones."]


def test_asking_for_health_and_lists_neither_wakes_a_model_nor_keeps_it(stack: Stack, name: str) -> None:
    eventually(lambda: is_cold(stack), "the model is unloaded")
    for path in ("/health", "/v1/models", "/v1/audio/voices", "/v1/audio/models", "/v1/audio/languages"):
        assert httpx2.get(stack.frontend.url + path).status_code == 200
    assert is_cold(stack)
    assert speak(stack, name, chunks=1).status_code == 200
    # `model_state` asks /health all the while.
    eventually(lambda: stack.frontend.model_state("scripted") == "unloaded", "it is unloaded although it is watched")


def test_a_request_while_its_model_is_unloading_is_served_by_a_fresh_load(stack: Stack, name: str) -> None:
    assert speak(stack, name, chunks=1).status_code == 200
    before = loads(stack)
    eventually(lambda: stack.frontend.model_state("scripted") in {"unloading", "unloaded"}, "the unload begins")
    reply = speak(stack, f"{name}-late", chunks=2)
    assert len(reply.content) == 2 * FRAME_SAMPLES * SAMPLE_BYTES
    assert loads(stack) == before + 1
    assert len(stubs(stack)) == 1


def test_a_stream_longer_than_the_idle_timeout_is_not_cut(stack: Stack, name: str, tmp_path: Path) -> None:
    with Gate(tmp_path) as gate:
        body = {"model": "scripted", "input": json.dumps({"name": name, "chunks": 5, "gate": str(gate)})}
        with httpx2.stream(
            "POST", f"{stack.frontend.url}/v1/audio/speech", json={**body, "response_format": "pcm"}, timeout=60
        ) as reply:
            pieces = reply.iter_raw()
            first = next(pieces)
            # Another model's idle unload shows that the idle time has passed for this one, too.
            speak_hibari(stack)
            eventually(lambda: stack.frontend.model_state("hibari") == "unloaded", "the idle time passes")
            assert stack.frontend.model_state("scripted") == "ready"
            assert stack.frontend.health()["models"]["scripted"]["unload_in_s"] is None
            gate.open()
            assert len(first + b"".join(pieces)) == 5 * FRAME_SAMPLES * SAMPLE_BYTES
    eventually(lambda: stack.frontend.model_state("scripted") == "unloaded", "after it, the model is idle")


def test_a_stream_straight_to_triton_that_is_longer_than_the_idle_timeout_keeps_its_model_loaded(
    stack: Stack, name: str, tmp_path: Path
) -> None:
    assert speak(stack, f"{name}-first", chunks=1).status_code == 200
    url = f"{stack.triton.url}/v2/models/scripted/generate_stream"
    with Gate(tmp_path) as gate:
        script = json.dumps({"name": name, "chunks": 5, "gate": str(gate)})
        with httpx2.stream("POST", url, json=SpeechRequest(script).to_tensors(), timeout=60) as reply:
            pieces = reply.iter_lines()
            assert next(pieces).startswith("data:")
            for _ in range(2):
                speak_hibari(stack)
                eventually(lambda: stack.frontend.model_state("hibari") == "unloaded", "the idle time passes")
            assert stack.frontend.model_state("scripted") == "ready"
            gate.open()
            assert any('"end' in piece.replace("\\", "") for piece in pieces)
    eventually(lambda: stack.frontend.model_state("scripted") == "unloaded", "after it, the model is idle")


def speak_hibari(stack: Stack) -> None:
    body = {"input": "Hello.", "response_format": "pcm"}
    assert httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json=body, timeout=60).status_code == 200


@contextlib.contextmanager
def triton_client(stack: Stack) -> Iterator[tritonclient.http.InferenceServerClient]:
    """A client of Triton itself; it belongs to the thread that makes it."""
    url = stack.triton.url.partition("://")[2]
    with contextlib.closing(tritonclient.http.InferenceServerClient(url)) as client:
        yield client


def is_unloaded(client: tritonclient.http.InferenceServerClient, model: str) -> bool:
    """Triton's index says that the model is not there, and neither coming nor going."""
    [row] = [row for row in client.get_model_repository_index() if row["name"] == model]
    return str(row.get("state", "UNAVAILABLE")) == "UNAVAILABLE"


class DirectRequests:
    """Sequential requests for `hibari`, directly to Triton, from a separate thread until the context ends.

    Not through `speech_batch`: on a slow machine one of two models may be idle for too long while the other loads.
    """

    STEADY_ANSWERS = 40  # far longer than a round of the idle timer

    def __init__(self, stack: Stack) -> None:
        self.answers = 0
        self.refusals = 0  # once the answers are steady
        self._stack = stack
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="direct-requests", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        steady = self.STEADY_ANSWERS
        try:
            eventually(lambda: self.answers >= steady or not self._thread.is_alive(), "Triton answers", timeout_s=120)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=60)

    def _run(self) -> None:
        speech = SpeechRequest("Hello.", max_audio_seconds=0.2)
        url = f"{self._stack.triton.url}/v2/models/hibari/generate_stream"
        with triton_client(self._stack) as triton, httpx2.Client(timeout=60) as client:
            while not self._over.is_set():
                if client.post(url, json=speech.to_tensors()).status_code == 200:
                    self.answers += 1
                    continue
                # At first the model may not be there, or on its way out when the first answer comes.
                if self.answers >= self.STEADY_ANSWERS:
                    self.refusals += 1
                else:
                    self.answers = 0
                if is_unloaded(triton, "hibari"):
                    triton.load_model("hibari")


def test_requests_made_straight_to_triton_keep_their_model_loaded(stack: Stack, name: str) -> None:
    with DirectRequests(stack) as direct:
        assert speak(stack, name, chunks=1).status_code == 200
        before = direct.answers
        # The frontend does not see direct requests; only Triton's statistics include them.
        eventually(
            lambda: stack.frontend.model_state("scripted") == "unloaded", "a model without direct requests is unloaded"
        )
        assert stack.frontend.model_state("hibari") == "ready"
        assert direct.answers > before
        assert direct.refusals == 0
    eventually(lambda: stack.frontend.model_state("hibari") == "unloaded", "without direct requests it goes, too")


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that never unloads a model by itself: missing models were unloaded by another client."""
    folder = tmp_path_factory.mktemp("steady")
    with Stack(folder, default_model="hibari", idle_timeout=0, request_timeout=20) as running:
        yield running


def test_a_model_that_another_client_unloaded_is_loaded_again_transparently(steady: Stack, name: str) -> None:
    assert speak(steady, name, chunks=1).status_code == 200
    before = loads(steady)
    with triton_client(steady) as client:
        client.unload_model("scripted")
        eventually(lambda: is_unloaded(client, "scripted"), "the model is unloaded behind the frontend's back")
    reply = speak(steady, f"{name}-next", chunks=3)
    assert reply.status_code == 200
    assert len(reply.content) == 3 * FRAME_SAMPLES * SAMPLE_BYTES
    assert loads(steady) == before + 1


def test_a_book_goes_on_where_its_model_was_unloaded_between_two_segments(steady: Stack, name: str) -> None:
    # Two segments run ahead of the pause at which the reader stands; the fourth one finds no model.
    pause_s = 100
    scripts = [json.dumps({"name": f"{name}-{number}", "chunks": 2}) for number in range(4)]
    body = {"model": "scripted", "input": ("[pause:10s]" * (pause_s // 10)).join(scripts), "response_format": "pcm"}
    with SlowReader(steady.frontend, body) as reader:
        eventually(lambda: f"{name}-2 ends 2" in steady.script_log(), "two segments run ahead")
        before = loads(steady)
        with triton_client(steady) as client:
            client.unload_model("scripted")
            eventually(lambda: is_unloaded(client, "scripted"), "the model is unloaded behind the frontend's back")
        samples = len(reader.read()) // SAMPLE_BYTES
    assert samples == 4 * 2 * FRAME_SAMPLES + 3 * pause_s * SAMPLE_RATE_HZ
    assert loads(steady) == before + 1


def test_a_model_that_cannot_load_is_a_clear_503_and_others_work(stack: Stack) -> None:
    # No checkpoint can be fetched here: the hub is switched off.
    body = {"model": "qwen3_tts_custom_voice", "input": "Hello."}
    reply = httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json=body, timeout=120)
    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "checkpoint_unavailable"
    assert "MODEL_ID" in reply.json()["error"]["message"]
    assert "Traceback" not in reply.text
    assert ".py" not in reply.text
    assert reply.headers["x-should-retry"] == "false"
    assert stack.frontend.model_state("qwen3_tts_custom_voice") == "failed"
    speak_hibari(stack)
