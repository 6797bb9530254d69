"""Replies are counted by route and status, and refusals are logged at a limited rate."""

import asyncio
import errno
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from openai_frontend.api.refusals import RefusalLog, Routes
from openai_frontend.voices.library import Library
from tests.openai_frontend.api.test_voices import NO_TRITON, SAMPLE, VOICES
from tests.support.prometheus import DEPLOY
from tests.support.replies import check
from tests.support.stack import Frontend

KEY = {"Authorization": "Bearer sk-right"}
SPEECH = "/v1/audio/speech"
LOGGER = "openai_frontend.api.refusals"


@pytest.fixture
def frontend(tmp_path: Path) -> Iterator[Frontend]:
    settings = {"api_keys": "sk-right", "max_upload_bytes": 200_000, "restart_timeout": 0}
    with Frontend(triton_url=NO_TRITON, voices_folder=str(tmp_path / "voices"), **settings) as running:
        yield running


def replies(frontend: Frontend) -> dict[tuple[str, str], float]:
    text = httpx2.get(f"{frontend.url}/metrics", timeout=30).text
    [family] = [each for each in text_string_to_metric_families(text) if each.name == "tts_http_responses"]
    samples = [each for each in family.samples if each.name.endswith("_total")]
    return {(each.labels["route"], each.labels["code"]): each.value for each in samples}


def refused(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.__dict__["fields"] for record in caplog.records if record.name == LOGGER]


Ask = Callable[[Frontend], httpx2.Response]


def post(path: str, **arguments: Any) -> Ask:
    return lambda frontend: httpx2.post(frontend.url + path, timeout=30, **{"headers": KEY, **arguments})


@pytest.mark.parametrize(
    ("ask", "route", "status"),
    [
        (post(SPEECH, headers={}, json={}), SPEECH, 401),
        (post("/audio/speech", headers={**KEY, "Origin": "https://elsewhere.example"}), SPEECH, 403),
        (post(SPEECH, content=b"x" * 1_400_000), SPEECH, 413),
        (post(SPEECH, content=b"{}", headers={**KEY, "Content-Type": "text/plain"}), SPEECH, 415),
        (post(SPEECH, headers={"Host": "elsewhere.example"}), SPEECH, 421),
        (post(SPEECH, json={}), SPEECH, 400),
        (post(SPEECH, json={"input": "Hello."}), SPEECH, 503),
        (post("/v1/audio/nothing"), "other", 404),
        (lambda frontend: httpx2.put(f"{frontend.url}{VOICES}/x", headers=KEY), f"{VOICES}/{{voice_id}}", 405),
        (lambda frontend: httpx2.delete(f"{frontend.url}{VOICES}/x", headers=KEY), f"{VOICES}/{{voice_id}}", 404),
    ],
)
def test_every_reply_is_counted_by_route_and_status_refusals_of_every_layer_included(
    frontend: Frontend, ask: Ask, route: str, status: int
) -> None:
    before = replies(frontend)
    assert ask(frontend).status_code == status
    after = replies(frontend)
    # Exposed before the first event, since rates need a start value.
    assert before.get((route, str(status)), 0 if status == 405 else None) == 0
    changed = {kind: count - before.get(kind, 0) for kind, count in after.items() if count != before.get(kind)}
    assert changed == {(route, str(status)): 1, ("/metrics", "200"): 1}


def test_every_counter_that_an_alert_reads_starts_at_zero_so_that_the_first_burst_is_an_increase(
    frontend: Frontend,
) -> None:
    rules = yaml.safe_load((DEPLOY / "rules.yml").read_text())["groups"]
    alerts = " ".join(rule["expr"] for group in rules for rule in group["rules"] if "alert" in rule)
    named = set(re.findall(r"\btts_\w+_total", alerts)) | {"tts_request_outcomes_total"}
    assert len(named) > 3
    text = httpx2.get(f"{frontend.url}/metrics", timeout=30).text
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    for name in named:
        values = [each.value for each in samples if each.name == name]
        assert values, name
        assert set(values) == {0}, name


def test_a_full_disk_is_counted_and_logged(
    frontend: Frontend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        reply = post(VOICES, data={"name": "Anna"}, files={"audio_sample": SAMPLE})(frontend)
    check(reply, 507, None, "storage_full")
    assert replies(frontend)[VOICES, "507"] == 1
    expected = {"status": 507, "code": "storage_full", "route": VOICES, "client": "127.0.0.1"}
    assert refused(caplog) == [expected]


def test_refused_keys_are_one_line_in_the_log_however_many_and_never_the_key(
    frontend: Frontend, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for number in range(20):
            post(SPEECH, json={}, headers={"Authorization": f"Bearer sk-guess-{number}"})(frontend)
    assert replies(frontend)[SPEECH, "401"] == 20
    expected = {"status": 401, "code": "invalid_api_key", "route": SPEECH, "client": "127.0.0.1"}
    assert refused(caplog) == [expected]
    assert "sk-" not in "".join(record.getMessage() for record in caplog.records if record.name.startswith("openai_"))


def test_a_rejected_recording_is_a_line_in_the_log(frontend: Frontend, caplog: pytest.LogCaptureFixture) -> None:
    reply = post(VOICES, data={"name": "Anna"}, files={"audio_sample": ("a.wav", b"no audio")})(frontend)
    check(reply, 400, "audio_sample", "invalid_reference_audio")
    assert [(each["status"], each["code"]) for each in refused(caplog)] == [(400, "invalid_reference_audio")]


def test_after_the_first_of_a_kind_the_log_has_how_many_followed(caplog: pytest.LogCaptureFixture) -> None:
    class Summary(logging.Handler):
        def __init__(self) -> None:
            super().__init__()
            self.seen = asyncio.Event()

        def emit(self, record: logging.LogRecord) -> None:
            if "count" in record.__dict__["fields"]:
                self.seen.set()

    async def scenario() -> None:
        summary = Summary()
        logging.getLogger(LOGGER).addHandler(summary)
        try:
            log = RefusalLog(interval_s=0.01)
            for _ in range(1000):
                log.note(401, "invalid_api_key", SPEECH, "10.0.0.1")
            log.note(507, "storage_full", VOICES, "10.0.0.2")
            log.note(404, "", VOICES, "10.0.0.2")
            await asyncio.wait_for(summary.seen.wait(), timeout=30)
        finally:
            logging.getLogger(LOGGER).removeHandler(summary)

    asyncio.run(scenario())
    lines = refused(caplog)
    assert [line["status"] for line in lines] == [401, 507, 401]
    assert lines[2] == {"status": 401, "code": "invalid_api_key", "count": 999, "seconds": 0.01}


def test_labels_are_templates_for_every_path() -> None:
    routes = Routes(("/v1/models", "/v1/models/{name:path}", "/v1/audio/voices/{voice_id}", "/"))
    asked = ("/v1/models/a/b", "/models", "/v1/audio/voices/x", "/v1/audio/voices/x/y", "/", "/v1", "/" + "x" * 10_000)
    templates = ("/v1/models/{name:path}", "/v1/models", "/v1/audio/voices/{voice_id}", "other", "/", "other", "other")
    assert tuple(routes.label(path) for path in asked) == templates


def test_an_unforeseen_failure_is_a_500_with_an_id_and_one_traceback_in_the_log(
    frontend: Frontend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("of the test")

    monkeypatch.setattr(Library, "voices", broken)
    reply = httpx2.get(frontend.url + VOICES, headers=KEY, timeout=30)
    check(reply, 500, None, "internal_error")
    assert reply.headers["x-request-id"]
    assert "of the test" not in reply.text
    assert [record.name for record in caplog.records if record.exc_info] == ["openai_frontend.errors"]
    assert replies(frontend)[VOICES, "500"] == 1
