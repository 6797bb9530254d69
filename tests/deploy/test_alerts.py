"""Each alert of deploy/ in its situation, with promtool, under the job names of Compose and of Kubernetes."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.support.prometheus import DEPLOY, find_tools

KUBERNETES = DEPLOY.parent / "kubernetes"
# Steps of 15 s, the configured scrape interval; events happen after two minutes.
STEP_S = 15
QUIET = 8
END_M = 30

Series = dict[str, str]


def compose_jobs() -> dict[str, str]:
    """What scrapes the frontend and Triton there."""
    configuration = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    names = [job["job_name"] for job in configuration["scrape_configs"]]
    assert set(names) == {"frontend", "triton"}
    return {name: name for name in names}


def kubernetes_jobs() -> dict[str, str]:
    """There the operator names a job as the Service, unless the monitor names a label for it."""
    documents = yaml.safe_load_all((KUBERNETES / "overlays/fleet/monitoring.yaml").read_text())
    [monitor] = [document for document in documents if document["kind"] == "ServiceMonitor"]
    assert "jobLabel" not in monitor["spec"]
    service = yaml.safe_load((KUBERNETES / "base/service.yaml").read_text())
    ports = {port["name"] for port in service["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} == ports
    return dict.fromkeys(("frontend", "triton"), service["metadata"]["name"])


JOBS = {"compose": compose_jobs(), "kubernetes": kubernetes_jobs()}


def once(count: float, before: float = 0) -> str:
    """Values of a series that steps up once, after two minutes."""
    return f"{before:g}x{QUIET} {before + count:g}x200"


def steadily(per_step: float) -> str:
    """Values of a counter that grows from then on."""
    return f"0x{QUIET} {per_step:g}+{per_step:g}x200"


def healthy() -> Series:
    """A frontend that serves a request every 15 s, and a Triton with a GPU, both scraped; every counter is there."""
    return {
        'up{job="FRONTEND",instance="f"}': "1x200",
        'up{job="TRITON",instance="t"}': "1x200",
        'tts_triton_up{job="FRONTEND"}': "1x200",
        'tts_waiting_requests{job="FRONTEND"}': "0x200",
        'tts_request_outcomes_total{job="FRONTEND",model="m",outcome="ok"}': "0+1x200",
        'tts_http_responses_total{job="FRONTEND",route="/v1/audio/speech",code="200"}': "0+1x200",
        'nv_gpu_memory_total_bytes{job="TRITON",gpu_uuid="g"}': "100x200",
        'nv_gpu_memory_used_bytes{job="TRITON",gpu_uuid="g"}': "90x200",
    }


def outcome(name: str, values: str) -> Series:
    return {f'tts_request_outcomes_total{{job="FRONTEND",model="m",outcome="{name}"}}': values}


def replies(code: int, values: str) -> Series:
    return {f'tts_http_responses_total{{job="FRONTEND",route="/v1/audio/voices",code="{code}"}}': values}


def first_audio(seconds: str, values: str) -> Series:
    """Of requests whose first audio came within `seconds`."""
    buckets = ("0.5", "1", "2", "5", "+Inf")
    kind = 'job="FRONTEND",model="m",voice_kind="builtin",format="mp3"'
    late = buckets[buckets.index(seconds) :]
    name = "tts_time_to_first_audio_seconds_bucket"
    return {f'{name}{{{kind},le="{each}"}}': values if each in late else "0x200" for each in buckets}


CLIENTS_MISTAKES = {
    **outcome("invalid", steadily(50)),
    **{
        name: values
        for code in (400, 401, 403, 404, 413, 415, 421, 429)
        for name, values in replies(code, steadily(50)).items()
    },
}
DOWN = f"1x{QUIET} 0x200"
SITUATIONS: dict[str, tuple[Series, set[str]]] = {
    "all is well": ({}, set()),
    "clients send invalid requests, wrong keys and too much": (CLIENTS_MISTAKES, set()),
    "a client disconnects": (outcome("cancelled", steadily(1)), set()),
    "first audio comes soon": (first_audio("1", steadily(1)), set()),
    "requests wait in the frontend, and no model is loaded": (
        {'tts_waiting_requests{job="FRONTEND"}': once(1)},
        {"SpeechPeopleWait"},
    ),
    "requests wait in the engine": (
        {'tts_engine_waiting_requests{job="TRITON",model="m"}': once(2)},
        {"SpeechPeopleWait"},
    ),
    "one burst is refused, the first since the start": (outcome("refused", once(5)), {"SpeechRequestsRefused"}),
    "first audio is late": (first_audio("5", steadily(1)), {"SpeechFirstAudioLate"}),
    "playback has gaps": ({'tts_underruns_total{job="FRONTEND",model="m"}': steadily(5)}, {"SpeechPlaybackGaps"}),
    "one burst fails, the first since the start": (outcome("failed", once(5)), {"SpeechRequestsFail"}),
    "requests fail beside many invalid ones": (
        {**CLIENTS_MISTAKES, **outcome("failed", steadily(1))},
        {"SpeechRequestsFail"},
    ),
    "a route has an internal error": (replies(500, once(1)), {"SpeechServerError"}),
    "a disk is full": (replies(507, once(1)), {"SpeechDiskFull"}),
    "a load fails": (
        {'tts_model_loads_total{job="FRONTEND",model="m",outcome="failed"}': once(1)},
        {"SpeechModelLoadFails"},
    ),
    "a model's process crashes": (
        {'tts_model_deaths_total{job="FRONTEND",model="m"}': once(1)},
        {"SpeechModelProcessDied"},
    ),
    "the guard cuts utterances": (
        {'tts_guard_trips_total{job="FRONTEND",model="m",reason="silence"}': steadily(0.5)},
        {"SpeechGuardTrips"},
    ),
    "the frontend does not reach Triton": ({'tts_triton_up{job="FRONTEND"}': DOWN}, {"SpeechTritonDown"}),
    "the frontend is not scraped": ({'up{job="FRONTEND",instance="f"}': DOWN}, {"SpeechTritonDown"}),
    "Triton is not scraped": ({'up{job="TRITON",instance="t"}': DOWN}, {"SpeechTritonDown"}),
    "no frontend is left": ({'tts_triton_up{job="FRONTEND"}': f"1x{QUIET} stale"}, {"SpeechTritonDown"}),
    "the GPU is full": ({'nv_gpu_memory_used_bytes{job="TRITON",gpu_uuid="g"}': once(8, 90)}, {"SpeechGpuMemoryFull"}),
}


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Series, set[str]], str]:
    """`verdict(series, expected)`: promtool's complaint unless exactly the expected alerts fire."""
    folder = tmp_path_factory.mktemp("alerts")
    tools = find_tools(folder / "tools")

    def judge(series: Series, expected: set[str]) -> str:
        fired = "count by (alertname) (max_over_time(ALERTS{alertstate='firing'}[1h]))"
        samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(expected)]
        test: dict[str, Any] = {
            "interval": f"{STEP_S}s",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [{"expr": fired, "eval_time": f"{END_M}m", "exp_samples": samples}],
        }
        file = folder / "test.yml"
        whole = {"rule_files": [str(DEPLOY / "rules.yml")], "evaluation_interval": f"{STEP_S}s", "tests": [test]}
        file.write_text(yaml.safe_dump(whole))
        command = [tools / "promtool", "test", "rules", file]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return "" if done.returncode == 0 else done.stdout + done.stderr

    return judge


@pytest.mark.parametrize("jobs", JOBS.values(), ids=JOBS)
@pytest.mark.parametrize(("changes", "alerts"), SITUATIONS.values(), ids=SITUATIONS)
def test_each_alert_fires_in_its_situation_and_no_other_does(
    verdict: Callable[[Series, set[str]], str], jobs: dict[str, str], changes: Series, alerts: set[str]
) -> None:
    series = {
        name.replace("FRONTEND", jobs["frontend"]).replace("TRITON", jobs["triton"]): values
        for name, values in {**healthy(), **changes}.items()
    }
    assert verdict(series, alerts) == ""


def test_every_alert_has_a_situation() -> None:
    groups = yaml.safe_load((DEPLOY / "rules.yml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert alerts == set().union(*(expected for _, expected in SITUATIONS.values()))
