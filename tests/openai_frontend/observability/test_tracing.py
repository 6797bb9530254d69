"""A request's spans, as received by an OpenTelemetry collector."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.fake_stack import FakeStack
from tests.support.stack import Frontend

TIMEOUT_S = 60
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Receives spans over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                batch = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
                for resource in batch.resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans += scope.spans
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "Collector":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(TIMEOUT_S)
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


def attributes(span: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in span.attributes}


def test_a_request_is_one_trace_from_the_callers_span_to_the_engine(
    stack: FakeStack, collector: Collector, name: str
) -> None:
    settings = {"model_names": {"scripted": "scripted"}, "idle_timeout": 0}
    script = json.dumps({"name": name, "chunks": 2})
    body = {"model": "scripted", "input": script, "response_format": "pcm"}
    with (
        Frontend(triton_url=stack.triton.url, otel_exporter_otlp_endpoint=collector.url, **settings) as frontend,
        httpx2.Client(base_url=frontend.url, timeout=TIMEOUT_S) as client,
    ):
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "traced"}
        assert client.post("/v1/audio/speech", json=body, headers=headers).status_code == 200
        failing = {**body, "input": json.dumps({"name": f"{name}-f", "chunks": 2, "fail_after": 0})}
        assert client.post("/v1/audio/speech", json=failing).status_code == 500
    # Sent at the latest when the frontend stops.
    spans = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    by_name = {span.name: span for span in spans}
    assert set(by_name) == {"speech", "queue", "load"}
    root = by_name["speech"]
    assert root.parent_span_id.hex() == PARENT
    assert {by_name[part].parent_span_id for part in ("queue", "load")} == {root.span_id}
    assert [event.name for event in root.events] == ["first audio"]
    assert attributes(root)["outcome"] == "ok"
    assert attributes(root)["request_id"] == "traced"
    assert script not in str(root)
    assert f"{name} is traced 00-{TRACE}-{root.span_id.hex()}-01" in stack.script_log()
    [failed] = [span for span in collector.spans if span.name == "speech" and span is not root]
    assert attributes(failed)["code"] == "engine_failure"
    assert failed.status.code == failed.status.STATUS_CODE_ERROR


def test_an_unreachable_collector_delays_no_request(stack: FakeStack, name: str) -> None:
    settings = {"model_names": {"scripted": "scripted"}, "idle_timeout": 0}
    body = {"model": "scripted", "input": json.dumps({"name": name, "chunks": 2}), "response_format": "pcm"}
    away = "http://127.0.0.1:9"
    with Frontend(triton_url=stack.triton.url, otel_exporter_otlp_endpoint=away, **settings) as frontend:
        reply = httpx2.post(f"{frontend.url}/v1/audio/speech", json=body, timeout=TIMEOUT_S)
        assert reply.status_code == 200


def test_without_an_endpoint_neither_the_sdk_nor_an_exporter_is_imported(tmp_path: Path) -> None:
    code = """
import sys
from openai_frontend.app import create_app
from openai_frontend.settings import Settings
from openai_frontend.observability.tracing import make_tracer

create_app(Settings())
make_tracer("")
sys.exit(any(name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")) for name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
