"""Finds the tritonserver binary that the nvidia-pytriton wheel carries, and what it needs to run on this machine.

Only the binaries of that wheel are used. Facts: the Python stub is built per Python version, loads libpython from
LD_LIBRARY_PATH, and finds its packages through the first `python3` on PATH.
"""

import importlib.util
import os
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openai_frontend.settings import Settings

_SECRETS: Final = {name.upper() for name in Settings.model_fields if name.split("_")[-1] in {"key", "keys"}} | {
    "API_KEYS_FILE",
    "TRITON_CONTROL_KEY_FILE",
    "TTS_API_KEY",
}
PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


class SetupError(Exception):
    """This machine lacks something; the message says what to install or set."""


@dataclass(frozen=True, slots=True)
class EmbeddedTriton:
    """Paths of one installed tritonserver."""

    binary: Path
    backend_files: tuple[Path, ...]
    libraries: tuple[Path, ...]

    def environment(self) -> dict[str, str]:
        """os.environ with the library and executable paths that the server and its stubs need, and without the
        frontend's keys: models run code that reads what strangers send."""
        kept = {name: value for name, value in os.environ.items() if name.upper() not in _SECRETS}
        libraries = os.pathsep.join([*map(str, self.libraries), *_split(os.environ.get("LD_LIBRARY_PATH"))])
        path = os.pathsep.join([str(Path(sys.executable).parent), *_split(os.environ.get("PATH"))])
        return {**kept, "LD_LIBRARY_PATH": libraries, "PATH": path}

    def make_backend_directory(self, folder: Path) -> Path:
        """Lay out `folder/python/` as tritonserver's --backend-directory expects it, with the stub of this Python."""
        python = folder / "python"
        python.mkdir(parents=True)
        for file in self.backend_files:
            (python / file.name).symlink_to(file)
        return folder


def find_embedded_triton() -> EmbeddedTriton:
    """The tritonserver of this environment. Raises SetupError where a part is missing."""
    spec = importlib.util.find_spec("pytriton")  # found, not imported: its Python API is not used
    if spec is None or not spec.submodule_search_locations:
        raise SetupError("The Triton binary is not installed. Run `make serve`, or install the extra `embedded`.")
    package = Path(spec.submodule_search_locations[0])
    server = package / "tritonserver"
    stub = server / "python_backend_stubs" / PYTHON_VERSION / "triton_python_backend_stub"
    if not stub.exists():
        raise SetupError(f"The Triton binary has no stub for Python {PYTHON_VERSION}. Use Python 3.11 or 3.12.")
    backend = server / "backends" / "python"
    return EmbeddedTriton(
        binary=server / "bin" / "tritonserver",
        backend_files=(backend / "libtriton_python.so", backend / "triton_python_backend_utils.py", stub),
        libraries=(package.parent / "nvidia_pytriton.libs", _find_libpython()),
    )


def _find_libpython() -> Path:
    """The folder of the shared Python library. Raises SetupError with the package that brings it."""
    name = f"libpython{PYTHON_VERSION}.so.1.0"
    variables = (sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LIBPL"), f"{sys.base_prefix}/lib")
    system = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")
    for folder in (*variables, *system):
        if folder and (Path(folder) / name).exists():
            return Path(folder)
    raise SetupError(
        f"{name} is missing, and Triton's Python backend needs it. Install it (Debian, Ubuntu: `apt-get install "
        f"libpython{PYTHON_VERSION}`; Fedora: `dnf install python{PYTHON_VERSION}-libs`), or use a Python that has it: "
        "`make clean serve PYTHON=/path/to/python3`."
    )


def _split(value: str | None) -> list[str]:
    return [part for part in (value or "").split(os.pathsep) if part]
