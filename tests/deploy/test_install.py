"""The installation scripts with missing requirements: they print one sentence with the problem and the remedy.

None of these runs reaches a package index, so each ends before anything is installed.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "http://127.0.0.1:9/simple"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the scripts need of one, in a folder whose name a shell takes apart."""
    folder = tmp_path / "my (copy)"
    for name in ("requirements", "local_stack"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def python_of_version(folder: Path, version: str) -> Path:
    """An interpreter that says that it is of this version."""
    path = folder / f"python{version}"
    major, minor = version.split(".")
    change = f"import sys; sys.version_info = ({major}, {minor}); exec(sys.argv.pop(1))"
    path.write_text(
        f"#!/bin/sh\n[ \"$1\" = -c ] || exec '{sys.executable}' \"$@\"\nexec '{sys.executable}' -c '{change}' \"$2\"\n"
    )
    path.chmod(0o755)
    return path


def bootstrap(checkout: Path, python: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "requirements/bootstrap.sh", ".venv"],
        cwd=checkout,
        env=offline(checkout, PYTHON=str(python), **environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


def offline(checkout: Path, **environment: str) -> dict[str, str]:
    index = {"PIP_INDEX_URL": NOWHERE, "UV_DEFAULT_INDEX": NOWHERE, "PIP_CONFIG_FILE": os.devnull}
    return {"PATH": os.environ["PATH"], "HOME": str(checkout), **index, **environment}


def test_without_a_network_it_says_that_it_needs_one_and_how_to_name_a_mirror(checkout: Path) -> None:
    done = bootstrap(checkout, sys.executable)
    assert done.returncode == 1
    assert "uv could not be installed. This machine has to reach the package index" in done.stdout
    assert "PIP_INDEX_URL" in done.stdout
    assert not (checkout / ".venv/uv.installed").exists()


@pytest.mark.parametrize("version", ["3.10", "3.13"])
def test_a_python_of_another_version_is_replaced_with_a_word(checkout: Path, tmp_path: Path, version: str) -> None:
    python = python_of_version(tmp_path, version)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3.12").symlink_to(sys.executable)
    done = bootstrap(checkout, python, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert f"{python} is Python {version}, and the embedded Triton needs 3.11 or 3.12: using python3.12" in done.stdout


def test_without_a_fitting_python_uv_is_to_bring_one_and_that_is_said(checkout: Path, tmp_path: Path) -> None:
    python = python_of_version(tmp_path, "3.13")
    for name in ("python3.11", "python3.12"):
        shutil.copy(python, tmp_path / name)
    done = bootstrap(checkout, python, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert "using Python 3.12, which uv downloads, instead" in done.stdout


def test_a_python_that_is_not_there_is_refused(checkout: Path) -> None:
    done = bootstrap(checkout, "no-such-python")
    assert done.returncode == 1
    assert "no-such-python cannot be run here. Install Python 3.11 or 3.12" in done.stdout


def test_a_home_that_cannot_be_written_is_not_needed(checkout: Path) -> None:
    done = bootstrap(checkout, sys.executable, HOME="/dev/null/home")
    assert "/dev/null/home/.cache/uv cannot be written: uv uses .cache in this folder instead" in done.stdout


def test_unavailable_packages_are_one_sentence_and_leave_nothing_that_looks_installed(checkout: Path) -> None:
    (checkout / ".venv/bin").mkdir(parents=True)
    uv = Path(sys.executable).parent / "uv"
    for tool in (uv, Path(sys.executable)):
        (checkout / ".venv/bin" / tool.name).symlink_to(tool)
    done = subprocess.run(
        ["sh", "requirements/install.sh", ".venv", "requirements/serve.txt", "installed"],
        cwd=checkout,
        env=offline(checkout, UV_CACHE_DIR=str(checkout / "cache"), UV_HTTP_RETRIES="0"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert "The packages could not be installed. This machine has to reach the package index" in done.stderr
    assert not (checkout / "installed").exists()


def test_ctrl_c_in_the_middle_is_one_line(checkout: Path, tmp_path: Path) -> None:
    python = tmp_path / "python"
    # It answers every call, and creates environments endlessly.
    python.write_text('#!/bin/sh\n[ "$2" != venv ] || { touch begun; exec sleep 100; }\n')
    python.chmod(0o755)
    process = subprocess.Popen(
        ["sh", "requirements/bootstrap.sh", ".venv"],
        cwd=checkout,
        env=offline(checkout, PYTHON=str(python)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    eventually((checkout / "begun").exists, "the environment is being made")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert output.splitlines()[1:] == ["stopping"]
    assert process.returncode == 130
