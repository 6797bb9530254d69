"""The Triton container's entrypoint, with a tritonserver that prints its arguments."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.deploy.test_containers import TRITON_ARGUMENTS

ENTRYPOINT = Path(__file__).parent.parent.parent / "deploy" / "entrypoint-triton.sh"
RESTRICTED = "--http-restricted-api=inference,model-repository,shared-memory,logging,trace:triton-control-key="


@pytest.fixture
def path(tmp_path: Path) -> str:
    server = tmp_path / "bin" / "tritonserver"
    server.parent.mkdir()
    server.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    server.chmod(0o755)
    return f"{server.parent}:{os.environ['PATH']}"


def call(path: str, *arguments: str, **environment: str) -> list[str]:
    command = [str(ENTRYPOINT), *arguments]
    result = subprocess.run(
        command, env={"PATH": path, **environment}, capture_output=True, text=True, timeout=60, check=True
    )
    return result.stdout.splitlines()


def test_the_first_start_makes_a_key_that_only_its_owner_can_read_and_later_ones_keep_it(
    path: str, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    first, second = (call(path, TRITON_CONTROL_KEY_FILE=str(file)) for _ in range(2))
    key = file.read_text().strip()
    assert len(key) > 30
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert RESTRICTED + key in first
    assert first == second


def test_a_key_of_the_environment_wins_and_without_any_nothing_is_restricted(path: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    assert RESTRICTED + "mine" in call(path, TRITON_CONTROL_KEY="mine", TRITON_CONTROL_KEY_FILE=str(file))
    assert not file.exists()
    assert not any("restricted" in argument for argument in call(path))


def test_tritonserver_gets_the_arguments_the_service_relies_on_and_those_of_the_caller(path: str) -> None:
    assert call(path, "--log-verbose=1") == [*TRITON_ARGUMENTS, "--log-verbose=1"]


def test_check_runs_the_check_of_the_engine_and_no_server(path: str, tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python3"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    assert call(path, "check", "--frames", "8") == ["-m", "speech_engines.qwen3_tts.check", "--frames", "8"]
