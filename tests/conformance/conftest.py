"""Environments of third-party clients, created when the first test needs them and kept beside this one."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support import npm
from tests.support.locks import installing

ROOT: Final = Path(__file__).parent.parent.parent
PROGRAMS: Final = Path(__file__).parent / "programs"
_INSTALL_S: Final = 240
_RUN_S: Final = 120
Run = Callable[..., Any]


@pytest.fixture(scope="session")
def clients() -> Path:
    """The `bin` folder of an environment with requirements/clients.txt; skips if that can't be installed."""
    requirements = ROOT / "requirements" / "clients.txt"
    folder = Path(sys.prefix) / f"clients-{_digest(requirements.read_bytes())}"
    with installing(folder.name):
        _install_clients(requirements, folder)
    return folder / "bin"


def _install_clients(requirements: Path, folder: Path) -> None:
    if not (folder / "installed").exists():
        uv = Path(sys.prefix) / "bin" / "uv"
        if not uv.exists():
            pytest.skip("needs uv beside the tests' Python: make test")
        _install([str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        python = str(folder / "bin" / "python")
        _install([str(uv), "pip", "install", "--quiet", "--python", python, "-r", str(requirements)])
        (folder / "installed").touch()


@pytest.fixture(scope="session")
def node() -> Run:
    """`node(program, *arguments)`: what the program prints, as JSON; skips if Node or the package is missing."""
    folder = npm.installed(PROGRAMS / "package.json")

    def run(program: str, *arguments: str) -> Any:
        # Packages are searched beside the program, so it runs from their folder.
        shutil.copy(PROGRAMS / program, folder)
        return _json(["node", str(folder / program), *arguments])

    return run


@pytest.fixture(scope="session")
def python_client(clients: Path) -> Run:
    """`python_client(program, *arguments)`: what the program prints, as JSON."""

    def run(program: str, *arguments: str) -> Any:
        return _json([str(clients / "python"), str(PROGRAMS / program), *arguments])

    return run


def _digest(data: bytes) -> str:
    return hashlib.sha256(data + sys.version.encode()).hexdigest()[:12]


def _install(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{command[0]} took longer than {_INSTALL_S} s")
    if done.returncode:
        pytest.skip(f"{Path(command[0]).name} could not install the clients: {done.stderr.strip()[-300:]}")


def _json(command: list[str]) -> Any:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_RUN_S, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr[-3000:]
    # The last line: libraries print messages before it.
    return json.loads(done.stdout.strip().splitlines()[-1])
