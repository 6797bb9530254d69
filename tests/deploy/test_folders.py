"""Containers on host folders of other users, outside Docker: as root, and as user 1000."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_stack.triton_process import free_port
from tests.support.stack import bare_environment
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
OWN_FOLDERS = ROOT / "deploy/own-folders.sh"
ENTRYPOINT = ROOT / "deploy/entrypoint-triton.sh"
USER = 1000
# As compose runs a container: that user, with no capability that it could use or get.
CONTAINER = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--inh-caps=-all", "--no-new-privs")

needs_root = pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="changes owners")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="speech-folders-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def start(folder: Path, *before: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The entrypoint of the Triton container, with a server that ends at once."""
    server = folder / "bin/tritonserver"
    server.parent.mkdir(exist_ok=True)
    server.write_text("#!/bin/sh\necho served\n")
    server.chmod(0o755)
    return subprocess.run(
        [*before, str(ENTRYPOINT)],
        # The images have the supervisor in their Python.
        env={"PATH": f"{server.parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@needs_root
def test_folders_that_root_or_an_earlier_server_made_can_be_written_after_the_one_shot_service(folder: Path) -> None:
    models, control = folder / "models", folder / "control"
    snapshot = models / "hub/models--Qwen--x/snapshots/1"
    for path in (snapshot, control):
        path.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    outside = folder / "outside"
    outside.touch()
    (snapshot / "link").symlink_to(outside)
    os.chown(snapshot.parent, 4242, 4242)
    snapshot.chmod(0o500)
    variables = {"HF_HOME": str(models), "TRITON_CONTROL_KEY_FILE": str(control / "key")}

    before = start(folder, *CONTAINER, **variables)
    assert before.returncode == 1
    assert f"{models} cannot be written by user 1000: missing weights cannot be downloaded" in before.stderr
    assert f"{control} cannot be written by user 1000: the key of Triton's model control cannot be" in before.stderr
    assert len(before.stderr.splitlines()) == 2

    subprocess.run([str(OWN_FOLDERS), str(USER), str(models), str(control)], check=True, timeout=60)
    after = start(folder, *CONTAINER, **variables)
    assert (after.returncode, after.stdout, after.stderr) == (0, "served\n", "")
    assert all(path.lstat().st_uid == USER for path in (models, *models.rglob("*"), control / "key"))
    assert outside.stat().st_uid == 0
    for path in (models / "new", snapshot / "new"):
        subprocess.run([*CONTAINER, "touch", str(path)], check=True, timeout=60)


@needs_root
def test_the_frontend_says_at_its_start_that_it_cannot_store_voices_and_not_after_the_one_shot_service(
    folder: Path,
) -> None:
    voices = folder / "voices"
    voices.mkdir(mode=0o755)
    sentence = f"VOICES_FOLDER is '{voices}', which user {USER} cannot write (Permission denied)"
    assert sentence in log_of_frontend(folder, voices)
    subprocess.run([str(OWN_FOLDERS), str(USER), str(voices)], check=True, timeout=60)
    assert "VOICES_FOLDER is" not in log_of_frontend(folder, voices)


def log_of_frontend(folder: Path, voices: Path) -> str:
    """What the frontend logs as it starts as the containers' user, without a Triton."""
    port = free_port()
    own = {"PORT": str(port), "VOICES_FOLDER": str(voices), "TRITON_URL": "http://127.0.0.1:9"}
    log = folder / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*CONTAINER, sys.executable, "-m", "openai_frontend"],
            env={**bare_environment(folder), **own, "PYTHONPATH": str(ROOT)},
            cwd=folder,
            stderr=stderr,
        )
    try:
        eventually(lambda: answers(f"http://127.0.0.1:{port}/live") or process.poll() is not None, "it serves", 60)
        process.terminate()
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
    return log.read_text()


@needs_root
def test_a_folder_that_cannot_be_given_away_is_said_and_stops_nothing(folder: Path) -> None:
    """For instance on a share of the network; here, without root."""
    (folder / "models").mkdir()
    command = [*CONTAINER, str(OWN_FOLDERS), str(USER), str(folder / "models")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "cannot be given to user 1000, the user of the containers. On the host, run: sudo chown -R" in done.stderr


def test_the_tritonserver_of_the_cpu_image_needs_nothing_of_its_environment_and_speaks(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "local_stack.embedded", str(tmp_path / "triton")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    shutil.copytree(ROOT / "model_repository/hibari", tmp_path / "models/hibari")
    port = free_port()
    addresses = (f"--http-port={port}", "--http-address=127.0.0.1", "--allow-metrics=false")
    process = subprocess.Popen(
        [str(ENTRYPOINT), *addresses],
        env={
            "PATH": f"{tmp_path / 'triton/bin'}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "MODEL_REPOSITORY": str(tmp_path / "models"),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: answers(f"http://127.0.0.1:{port}/v2/health/live"), "it is live")
        post(f"http://127.0.0.1:{port}/v2/repository/models/hibari/load", {})
        spoken = post(f"http://127.0.0.1:{port}/v2/models/hibari/generate_stream", {"TEXT": "Hello."})
        assert spoken.count(b'"AUDIO":"') > 2
    finally:
        process.terminate()
        process.wait(timeout=60)


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


def post(url: str, body: dict[str, str]) -> bytes:
    with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=60) as reply:
        return bytes(reply.read())
