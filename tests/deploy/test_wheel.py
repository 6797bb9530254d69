"""The wheel: its scripts run from an empty folder, and its packages have no names that other projects use."""

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from openai_frontend import __version__
from tests.support.stack import bare_environment

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("client", "openai_frontend", "speech_client", "speech_engines", "speech_protocol", "speech_text")
FILES = ("LICENSE", "README.md", "pyproject.toml", "setup.py")
BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel was unpacked into."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in (*COPIED, "triton_supervisor"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-W", "ignore", "-c", BUILD, str(folder)]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr
    with ZipFile(folder / built.stdout.splitlines()[-1]) as wheel:
        wheel.extractall(folder / "packages")
    return folder / "packages"


def scripts(installed: Path) -> dict[str, str]:
    """Console scripts and what they call."""
    [metadata] = installed.glob("*.dist-info")
    lines = (metadata / "entry_points.txt").read_text().splitlines()
    return dict(line.split(" = ") for line in lines if " = " in line)


def test_every_top_level_package_has_a_name_of_this_project(installed: Path) -> None:
    found = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert found == {*COPIED, "triton_speech_client", "triton_supervisor"} - {"client"}
    assert [path.name for path in installed.glob("*.dist-info")] == [f"triton_speech_server-{__version__}.dist-info"]


@pytest.mark.parametrize("script", ["tts-server", "tts-batch", "tts-load-test", "tts-smoke"])
def test_a_console_script_runs_from_an_empty_folder(installed: Path, tmp_path: Path, script: str) -> None:
    module, _, function = scripts(installed)[script].partition(":")
    start = f"import sys; from {module} import {function}; sys.argv = ['{script}', '--help']; {function}()"
    environment = {**bare_environment(tmp_path), "PYTHONPATH": str(installed)}
    command = [sys.executable, "-P", "-c", start]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"usage: {script}" in done.stdout


def test_every_file_of_the_page_is_in_the_wheel(installed: Path) -> None:
    static = ROOT / "openai_frontend/static"
    expected = {str(path.relative_to(ROOT)) for path in static.rglob("*") if path.is_file()}
    assert expected <= {str(path.relative_to(installed)) for path in installed.rglob("*")}
