"""npm packages that tests need: installed once, beside the tests' Python; nothing of them is in the repository."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.locks import installing

_INSTALL_S: Final = 240


def installed(manifest: Path) -> Path:
    """The folder with what a package.json asks for; skips the test if that can't be installed."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("needs Node.js and npm")
    digest = hashlib.sha256(manifest.read_bytes() + sys.version.encode()).hexdigest()[:12]
    with installing(f"node-{digest}"):
        return _installed(npm, Path(sys.prefix) / f"node-{digest}", manifest)


def _installed(npm: str, folder: Path, manifest: Path) -> Path:
    if (folder / "installed").exists():
        return folder
    folder.mkdir(exist_ok=True)
    shutil.copy(manifest, folder)
    command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefix", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm took longer than {_INSTALL_S} s")
    if done.returncode:
        pytest.skip(f"npm could not install the packages: {done.stderr.strip()[-300:]}")
    (folder / "installed").touch()
    return folder
