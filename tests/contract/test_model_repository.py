"""The model repository matches the protocol, and contains adapters only."""

import ast
import re
from pathlib import Path

import pytest

from local_stack.triton_process import REPOSITORY
from speech_protocol.models import ALIGNER, MODELS, SPEECH_BATCH
from speech_protocol.tensors import BATCH_INPUTS, BATCH_OUTPUTS, INPUTS, OUTPUTS, TensorSpec

FOLDERS = sorted(folder for folder in REPOSITORY.iterdir() if folder.is_dir())
_TENSOR = re.compile(r"\{(?P<fields>[^{}]*)\}")


def tensors(pbtxt: str, kind: str) -> tuple[TensorSpec, ...]:
    """The `input [...]` or `output [...]` block of a config.pbtxt, as the protocol writes it."""
    block = re.search(rf"^{kind} \[\n(.*?)\n\]", pbtxt, re.DOTALL | re.MULTILINE)
    assert block is not None
    return tuple(_spec(match["fields"]) for match in _TENSOR.finditer(block[1]))


def _spec(text: str) -> TensorSpec:
    fields = dict(line.strip().split(": ", 1) for line in text.strip().splitlines())
    dims = tuple(int(number) for number in re.findall(r"-?\d+", fields["dims"]))
    optional = fields.get("optional") == "true"
    return TensorSpec(fields["name"].strip('"'), fields["data_type"].removeprefix("TYPE_"), dims, optional)


def test_there_is_a_folder_for_every_model_and_no_other() -> None:
    assert {folder.name for folder in FOLDERS} == {*MODELS, ALIGNER.name, SPEECH_BATCH}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_configuration_equals_the_protocol(folder: Path) -> None:
    pbtxt = (folder / "config.pbtxt").read_text()
    batch = folder.name == SPEECH_BATCH
    assert f'name: "{folder.name}"' in pbtxt
    assert tensors(pbtxt, "input") == (BATCH_INPUTS if batch else INPUTS)
    assert tensors(pbtxt, "output") == (BATCH_OUTPUTS if batch else OUTPUTS)
    assert ("decoupled: true" in pbtxt) is not batch
    assert f"kind: KIND_CPU, count: {8 if batch else 1}" in pbtxt


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_model_file_is_a_thin_adapter(folder: Path) -> None:
    source = (folder / "1" / "model.py").read_text()
    assert len(source.splitlines()) <= 30
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
