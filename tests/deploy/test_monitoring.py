"""The scrape configuration, rules, alerts and dashboard of deploy/, in a real Prometheus over a real stack."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import yaml

from tests.support.processes import has_ended, stub_of
from tests.support.prometheus import DEPLOY, Prometheus, find_tools, running
from tests.support.stack import Stack
from tests.support.waiting import eventually

DASHBOARD = DEPLOY.parent / "grafana/dashboards/speech.json"
TIMEOUT_S = 60
# There is no GPU in the tests' machine, and only Qwen3-TTS has these.
ELSEWHERE = re.compile(r"nv_gpu_\w+|tts_engine_(cache|voice_prompts|gpu_memory|guard)\w+")


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return find_tools(tmp_path_factory.mktemp("prometheus"))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, tools: Path) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("monitoring")
    with Stack(folder, default_model="hibari", default_voice="alloy", idle_timeout=0) as found:
        yield found


@pytest.fixture(scope="module")
def prometheus(stack: Stack, tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    targets = {
        "frontend": stack.frontend.url.partition("://")[2],
        "triton": f"127.0.0.1:{stack.triton.metrics_port}",
    }
    with running(tools, tmp_path_factory.mktemp("data"), targets) as found:
        # A model's first figures, then changes of them.
        for _ in range(2):
            speak(stack)
            eventually(lambda: found.query("tts_requests_total"), "it has looked", TIMEOUT_S)
        yield found


def speak(stack: Stack) -> None:
    body = {"input": "Good morning.", "response_format": "mp3"}
    assert httpx2.post(f"{stack.frontend.url}/v1/audio/speech", json=body, timeout=TIMEOUT_S).status_code == 200


def expressions() -> dict[str, str]:
    """Of every panel and every rule, by name."""
    dashboard = json.loads(DASHBOARD.read_text())
    found = {
        f"{panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "1m")
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    }
    for group in yaml.safe_load((DEPLOY / "rules.yml").read_text())["groups"]:
        found |= {rule.get("record") or rule["alert"]: rule["expr"] for rule in group["rules"]}
    return found


def test_promtool_finds_nothing_wrong(tools: Path) -> None:
    for what, file in (("config", "prometheus.yml"), ("rules", "rules.yml")):
        command = [tools / "promtool", "check", what, DEPLOY / file]
        checked = subprocess.run(command, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


def test_both_are_scraped_and_every_rule_is_healthy(stack: Stack, prometheus: Prometheus) -> None:
    eventually(lambda: [row["value"][1] for row in prometheus.query("up")] == ["1", "1"], "both are up")
    eventually(lambda: {rule["health"] for rule in prometheus.rules()} == {"ok"}, "every rule was evaluated")
    eventually(lambda: prometheus.query("tts:time_to_first_audio_seconds:p95_5m"), "a recorded series has values")
    # A slow machine's first request may well be late.
    broken = {"SpeechModelProcessDied", "SpeechModelLoadFails", "SpeechTritonDown", "SpeechRequestsFail"}
    eventually(lambda: not broken & prometheus.firing(), "nothing that is not broken is said to be")


def test_every_metric_that_the_dashboard_and_the_rules_name_exists(stack: Stack, prometheus: Prometheus) -> None:
    recorded = {rule["name"] for rule in prometheus.rules()}
    for name, expression in expressions().items():
        prometheus.query(expression)  # it is understood
        for metric in set(re.findall(r"\b(?:tts_|tts:|nv_)[\w:]+", expression)):
            if metric in recorded or ELSEWHERE.fullmatch(metric):
                continue
            eventually(lambda metric=metric: exists(prometheus, metric), f"{metric} of '{name}' exists")  # type: ignore[misc]


def exists(prometheus: Prometheus, metric: str) -> bool:
    """As a series, or, if nothing has been counted yet, as a family that Prometheus has read of."""
    family = re.sub(r"_(total|bucket|count|sum)$", "", metric)
    reply = httpx2.get(f"{prometheus.url}/api/v1/targets/metadata", params={"metric": family}, timeout=TIMEOUT_S)
    return bool(prometheus.query(metric)) or bool(reply.json()["data"])


def test_panels_have_titles_units_and_a_place_of_their_own() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert rows == ["Demand", "Latency", "Engine and GPU", "Lifecycle"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_alert_says_what_to_do() -> None:
    for group in yaml.safe_load((DEPLOY / "rules.yml").read_text())["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                assert rule["annotations"]["summary"]
                assert rule["annotations"]["action"]


def test_an_alert_fires_when_a_models_process_is_killed(stack: Stack, prometheus: Prometheus) -> None:
    # Seen at 0 before it grows.
    eventually(lambda: prometheus.query('tts_model_deaths_total{model="hibari"}'), "the count is there")
    stub = stub_of(stack, "hibari")
    stub.kill()
    eventually(lambda: has_ended(stub), "the process ends")
    speak(stack)
    eventually(lambda: "SpeechModelProcessDied" in prometheus.firing(), "the alert fires", TIMEOUT_S)
