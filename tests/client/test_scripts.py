"""The example scripts, against a running stack."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from client import smoke
from client.smoke import CHECKS
from tests.support.listening import decode, transcribe, word_error_rate, words
from tests.support.stack import Frontend, Stack

ROOT = Path(__file__).resolve().parents[2]
PARAGRAPHS = (
    "There is nothing better than a good cup of coffee.",
    "The children are playing in the garden behind the house.",
)


def test_every_smoke_check_passes_on_our_own_server(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["smoke", stack.frontend.url])
    with pytest.raises(SystemExit) as exit_:
        smoke.main()
    assert exit_.value.code == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{len(CHECKS)} passed, 0 failed"


def test_the_scripts_send_the_key_of_the_environment(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = str(Path(__file__).parent.parent / "quick.sh")
    with Frontend(
        triton_url=stack.triton.url, default_model="hibari", idle_timeout=0, api_keys="sk-1", open_lists=False
    ) as frontend:
        monkeypatch.setenv("TTS_API_KEY", "sk-1")
        server = smoke.Server(frontend.url)
        assert all(smoke.CHECKS[name](server) for name in ("voices", "synthesis"))
        assert subprocess.run(["sh", script, frontend.url], cwd=tmp_path, timeout=60).returncode == 0
        monkeypatch.delenv("TTS_API_KEY")
        assert server.get("/v1/audio/voices").status == 401
        assert subprocess.run(["sh", script, frontend.url], cwd=tmp_path, timeout=60).returncode != 0


def test_smoke_fails_where_there_is_no_server(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["smoke", "http://127.0.0.1:9"])
    with pytest.raises(SystemExit) as exit_:
        smoke.main()
    assert exit_.value.code == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"0 passed, {len(CHECKS)} failed"


def test_the_python_of_the_readme_speaks_with_what_it_says_to_install(stack: Stack, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    base_url = "http://127.0.0.1:8101"
    assert base_url in code
    program = code.replace(base_url, stack.frontend.url)
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=60)
    assert "hello" in transcribe(decode((tmp_path / "hello.mp3").read_bytes(), "mp3"))
    [requirements, package] = re.findall(r"uv pip install --constraints (\S+) (\w+) ", readme)[0]
    assert f"import {package}" in code or f"from {package} import" in code
    assert re.search(rf"^{package}==", (ROOT / requirements).read_text(), re.MULTILINE)
    # The files that the curl line and this program write are git-ignored.
    assert "/hello.mp3" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the script is a curl line")
def test_the_quick_script_writes_a_recording(stack: Stack, tmp_path: Path) -> None:
    script = Path(__file__).parent.parent / "quick.sh"
    subprocess.run(["sh", str(script), stack.frontend.url], cwd=tmp_path, check=True, timeout=60)
    samples = decode((tmp_path / "test_output.wav").read_bytes(), "wav")
    assert word_error_rate(transcribe(samples), words(PARAGRAPHS[0])) <= 0.1
