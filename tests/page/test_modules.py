"""The page's modules, under Node's own test runner."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = Path(__file__).parent
_RUN_S: Final = 240


def test_every_unit_test_of_the_pages_modules_passes() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js 20 or newer")
    tests = sorted(str(path) for path in FOLDER.glob("*.test.js"))
    assert tests
    # The files are modules by their syntax: there is no package.json beside them.
    command = [node, "--experimental-detect-module", "--no-warnings", "--test", *tests]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_RUN_S, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "# skipped 0" in done.stdout
