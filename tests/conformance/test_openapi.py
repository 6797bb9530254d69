"""Requests generated from the OpenAPI document, valid and invalid, are answered in time and in the documented
format."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.stack import Stack, qwen_stack
from tests.support.types import CheckpointOf

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
REQUEST_S = 30
RUN_S = 550


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: CheckpointOf) -> Iterator[Stack]:
    """Every task has its tiny model, so that every request can be served; utterances are short."""
    with qwen_stack(tmp_path_factory.mktemp("qwen"), tiny_checkpoint, max_audio_seconds=0.4) as running:
        yield running


def test_generated_requests_get_no_5xx_and_no_reply_out_of_shape(qwen: Stack, clients: Path, tmp_path: Path) -> None:
    command = [
        *(str(clients / "schemathesis"), "run", f"{qwen.frontend.url}/openapi.json", "--url", qwen.frontend.url),
        *("--checks", ",".join(CHECKS), "--max-examples", "20", "--seed", "4", "--no-color"),
        *("--request-timeout", str(REQUEST_S), "--phases", "examples,coverage,fuzzing", "--warnings", "off"),
        *("--suppress-health-check", "all"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    assert httpx2.get(f"{qwen.frontend.url}/health").json()["pending_requests"] == 0
