"""Metrics and the log line of each request."""

import json
import logging
from collections.abc import Iterator

import httpx2
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from openai_frontend.observability.logs import JsonFormatter, TextFormatter
from openai_frontend.observability.metrics import Metrics
from speech_client.triton import ModelState
from tests.support.fake_stack import FakeStack
from tests.support.stack import Gate
from tests.support.waiting import eventually

TIMEOUT_S = 60


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStack]:
    folder = tmp_path_factory.mktemp("metrics")
    settings = {"max_pending_requests": 1, "idle_timeout": 0}
    with FakeStack(folder, default_model="hibari", default_voice="alloy", **settings) as running:
        yield running


def scrape(stack: FakeStack) -> dict[str, Metric]:
    reply = httpx2.get(f"{stack.frontend.url}/metrics", timeout=TIMEOUT_S)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    return {family.name: family for family in text_string_to_metric_families(reply.text)}


def value(stack: FakeStack, sample: str, **labels: str) -> float:
    """The sum of a sample over all label sets with these labels; 0 if there is none."""
    samples = (each for family in scrape(stack).values() for each in family.samples)
    return sum(each.value for each in samples if each.name == sample and labels.items() <= each.labels.items())


def speak(stack: FakeStack, **body: object) -> httpx2.Response:
    return httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json=body, timeout=TIMEOUT_S)


def test_a_request_is_counted_timed_and_measured_by_model_voice_and_format(stack: FakeStack) -> None:
    labels = {"model": "hibari", "voice_kind": "builtin", "format": "mp3"}
    text = "Good morning, everybody."
    before = {name: value(stack, f"tts_{name}_total", **labels) for name in ("requests", "input_characters")}
    for _ in range(3):
        assert speak(stack, input=text).status_code == 200
    assert value(stack, "tts_requests_total", outcome="ok", **labels) == before["requests"] + 3
    assert value(stack, "tts_input_characters_total", **labels) == before["input_characters"] + 3 * len(text)
    assert 3 < value(stack, "tts_audio_seconds_total", **labels) < 30
    for name in ("time_to_first_audio_seconds", "request_duration_seconds"):
        assert value(stack, f"tts_{name}_count", **labels) == 3
        assert value(stack, f"tts_{name}_bucket", le="60.0", **labels) == 3
    assert value(stack, "tts_real_time_factor_count", model="hibari") >= 3
    assert value(stack, "tts_queue_wait_seconds_count", model="hibari", place="engine") >= 3
    assert value(stack, "tts_queue_wait_seconds_count", model="hibari", place="frontend") >= 3
    assert value(stack, "tts_encoder_seconds_total", format="mp3") > 0


def test_an_observation_leads_to_the_request_that_it_came_from(stack: FakeStack) -> None:
    headers = {"x-request-id": "one-of-a-kind"}
    body = {"input": "Hello.", "response_format": "flac"}
    httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json=body, headers=headers, timeout=TIMEOUT_S)
    samples = scrape(stack)["tts_time_to_first_audio_seconds"].samples
    exemplars = [each.exemplar.labels for each in samples if each.exemplar and each.labels["format"] == "flac"]
    assert exemplars == [{"request_id": "one-of-a-kind"}]


def test_loads_states_and_triton_itself_are_there(stack: FakeStack) -> None:
    assert speak(stack, input="Hello.").status_code == 200
    assert value(stack, "tts_model_loads_total", model="hibari", outcome="ok") == 1
    assert value(stack, "tts_model_load_seconds_count", model="hibari") == 1
    assert value(stack, "tts_model_state", model="hibari", state="ready") == 1
    assert value(stack, "tts_model_state", model="hibari") == 1  # in one state only
    assert value(stack, "tts_model_state", model="qwen3_tts_base", state="unloaded") == 1
    assert value(stack, "tts_triton_up") == 1
    assert value(stack, "process_resident_memory_bytes") > 0


def test_requests_in_flight_are_a_gauge_and_one_over_the_limit_is_refused(
    stack: FakeStack, name: str, gate: Gate
) -> None:
    script = json.dumps({"name": name, "chunks": 4, "gate": str(gate)})
    body = {"model": "scripted", "input": script, "response_format": "pcm"}
    with httpx2.Client(base_url=stack.frontend.url, timeout=TIMEOUT_S) as client:
        with client.stream("POST", "/v1/audio/speech", json=body) as reply:
            assert value(stack, "tts_pending_requests") == value(stack, "tts_active_requests") == 1
            assert client.post("/v1/audio/speech", json=body).status_code == 503
            gate.open()
            reply.read()
        eventually(lambda: value(stack, "tts_pending_requests") == 0, "it is gone")
    assert value(stack, "tts_requests_total", model="scripted", outcome="refused", code="server_overloaded") == 1
    assert value(stack, "tts_requests_total", model="scripted", outcome="ok") >= 1


def test_disconnects_and_failures_are_distinguished(stack: FakeStack, name: str, gate: Gate) -> None:
    script = {"name": name, "chunks": 4, "gate": str(gate)}
    with httpx2.Client(base_url=stack.frontend.url, timeout=TIMEOUT_S) as client:
        before = value(stack, "tts_requests_total", model="scripted", outcome="cancelled")
        body = {"model": "scripted", "input": json.dumps(script), "response_format": "opus"}
        with client.stream("POST", "/v1/audio/speech", json=body):
            pass
        eventually(
            lambda: value(stack, "tts_requests_total", model="scripted", outcome="cancelled") == before + 1,
            "the disconnect is counted",
        )
    gate.open()
    failing = json.dumps({"name": f"{name}-f", "chunks": 2, "fail_after": 0})
    assert speak(stack, model="scripted", input=failing).status_code == 500
    assert value(stack, "tts_requests_total", model="scripted", outcome="failed", code="engine_failure") == 1


def test_each_request_has_a_line_in_the_log_for_machines_and_for_people(
    stack: FakeStack, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="openai_frontend.requests"):
        reply = speak(stack, input="A line for you.", response_format="wav")
        # The record is written when the body's generator is closed, a moment after its last byte.
        eventually(lambda: any(each.name == "openai_frontend.requests" for each in caplog.records), "the line is there")
    [record] = [each for each in caplog.records if each.name == "openai_frontend.requests"]
    entry = json.loads(JsonFormatter().format(record))
    assert entry["request_id"] == reply.headers["x-request-id"]
    assert {name: entry[name] for name in ("model", "voice_kind", "format", "characters", "outcome")} == {
        "model": "hibari",
        "voice_kind": "builtin",
        "format": "wav",
        "characters": len("A line for you."),
        "outcome": "ok",
    }
    assert 0 < entry["ttfa_s"] <= entry["took_s"]
    assert entry["rtf"] == pytest.approx(entry["took_s"] / entry["audio_s"], rel=0.01, abs=1e-4)  # rounded
    text = TextFormatter("%(message)s").format(record)
    assert "outcome=ok" in text
    assert "you" not in text


def test_nothing_is_said_of_the_models_of_a_triton_that_is_away() -> None:
    metrics = Metrics()
    for states, up, ready in (({"m": ModelState.READY}, 1, 1), ({}, 0, None)):
        metrics.set_states(states)
        assert metrics.registry.get_sample_value("tts_triton_up") == up
        assert metrics.registry.get_sample_value("tts_model_state", {"model": "m", "state": "ready"}) == ready
