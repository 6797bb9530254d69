"""Metrics of the engines among Triton's own."""

import json

import httpx2
import tritonclient.http
from prometheus_client.parser import text_string_to_metric_families

from tests.support.stack import Stack
from tests.support.waiting import eventually

TIMEOUT_S = 60


def speak(stack: Stack, **body: object) -> httpx2.Response:
    return httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json=body, timeout=TIMEOUT_S)


def engine_value(stack: Stack, sample: str, model: str) -> float:
    text = httpx2.get(f"http://127.0.0.1:{stack.triton.metrics_port}/metrics", timeout=TIMEOUT_S).text
    samples = (each for family in text_string_to_metric_families(text) for each in family.samples)
    return sum(each.value for each in samples if each.name == sample and each.labels.get("model") == model)


def test_tritons_own_metrics_have_the_engines_figures_through_loads_and_unloads(stack: Stack, name: str) -> None:
    for number in range(3):
        script = json.dumps({"name": f"{name}-{number}", "chunks": 5})
        before = engine_value(stack, "tts_engine_frames_total", "scripted")
        assert speak(stack, model="scripted", input=script).status_code == 200
        assert speak(stack, input="Hello.").status_code == 200
        eventually(
            lambda before=before: engine_value(stack, "tts_engine_frames_total", "scripted") == before + 5,  # type: ignore[misc]
            "the frames are counted",
        )
        assert engine_value(stack, "tts_engine_active_rows", "scripted") == 0
        assert engine_value(stack, "tts_engine_rows", "scripted") == 2
        assert engine_value(stack, "tts_engine_steps_total", "hibari") > 0
        with tritonclient.http.InferenceServerClient(stack.triton.url.partition("://")[2]) as client:
            client.unload_model("scripted")
        eventually(lambda: stack.frontend.model_state("scripted") == "unloaded", "it is unloaded")
