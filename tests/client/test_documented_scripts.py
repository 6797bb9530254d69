"""The scripts of docs/triton-scripts.md, run as printed."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.http

from speech_protocol.languages import CODES
from speech_protocol.models import MODELS, SPEECH_BATCH
from speech_protocol.tensors import BATCH_INPUTS
from tests.support.listening import decode, transcribe, word_error_rate, words
from tests.support.stack import Stack

DOCUMENT = (Path(__file__).parents[2] / "docs/triton-scripts.md").read_text(encoding="utf-8")
SCRIPTS = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.fixture
def address(stack: Stack) -> Iterator[str]:
    url = stack.triton.url.partition("://")[2]
    yield url
    with contextlib.closing(tritonclient.http.InferenceServerClient(url)) as client:
        client.unload_model(SPEECH_BATCH)


@pytest.mark.parametrize(("number", "file"), [(0, "speech.wav"), (1, "stream.wav")])
def test_a_script_of_the_documentation_speaks(address: str, tmp_path: Path, number: int, file: str) -> None:
    script = SCRIPTS[number]
    assert len(script.splitlines()) <= 22
    for each in SCRIPTS[: number + 1]:  # the first one loads the model
        subprocess.run([sys.executable, "-c", each, address], cwd=tmp_path, check=True, timeout=120)
    said = re.search(r'"TEXT": "([^"]+)"', script)
    assert said is not None
    heard = transcribe(decode((tmp_path / file).read_bytes(), "wav"))
    assert word_error_rate(heard, words(said[1])) <= 0.1


def test_the_stream_script_says_what_is_wrong(address: str, tmp_path: Path) -> None:
    script = SCRIPTS[1].replace("models/hibari", "models/nothing")
    failed = subprocess.run([sys.executable, "-c", script, address], cwd=tmp_path, capture_output=True, timeout=60)
    assert failed.returncode == 1
    assert b"'nothing' is not found" in failed.stderr


def test_tensors_models_and_languages_are_all_documented() -> None:
    names = {spec.name for spec in BATCH_INPUTS} | set(MODELS) | {SPEECH_BATCH} | set(CODES) | set(CODES.values())
    assert [name for name in sorted(names) if f"`{name}`" not in DOCUMENT] == []
