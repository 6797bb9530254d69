"""Locates the tritonserver binary of the nvidia-pytriton wheel, and prepares its environment.

Only the binaries of that wheel are used. The Python stub is built for one Python version, loads libpython from
LD_LIBRARY_PATH, finds its packages through the first `python3` on PATH, and crashes if that path is not ASCII.
"""

import importlib.util
import os
import shlex
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

WITHOUT_GPU = ("--allow-gpu-metrics=false", "--pinned-memory-pool-byte-size=0")


class SetupError(Exception):
    """A requirement of this machine is missing; the message says what to install or set."""


@dataclass(frozen=True, slots=True)
class EmbeddedTriton:
    """The paths of an installed tritonserver."""

    binary: Path
    backend_files: tuple[Path, ...]
    libraries: tuple[Path, ...]

    def make_environment(self, folder: Path) -> dict[str, str]:
        """os.environ with the library and executable paths that the server and its stubs need, and without the
        frontend's keys, since models process untrusted input. `folder` becomes a link to this Python's environment, so
        its path should be plain."""
        executables = Path(sys.executable).parent
        folder.symlink_to(executables.parent)
        secrets = _secrets()
        kept = {name: value for name, value in os.environ.items() if name.upper() not in secrets}
        libraries = os.pathsep.join([*map(str, self.libraries), *_split(os.environ.get("LD_LIBRARY_PATH"))])
        path = os.pathsep.join([str(folder / executables.name), *_split(os.environ.get("PATH"))])
        return {**kept, "LD_LIBRARY_PATH": libraries, "PATH": path}

    def make_backend_directory(self, folder: Path) -> Path:
        """Create `folder/python/` as tritonserver's --backend-directory expects it, with the stub of this Python."""
        python = folder / "python"
        python.mkdir(parents=True)
        for file in self.backend_files:
            (python / file.name).symlink_to(file)
        return folder

    def make_command(self, folder: Path) -> Path:
        """Create `folder/bin/tritonserver`, a command for machines without a GPU that takes tritonserver's arguments
        and needs no environment variables; used to build the CPU image."""
        backends = self.make_backend_directory(folder / "backends")
        command = folder / "bin" / "tritonserver"
        command.parent.mkdir()
        libraries = os.pathsep.join(map(str, self.libraries))
        lines = (
            "#!/bin/sh",
            f"export LD_LIBRARY_PATH={shlex.quote(libraries)}",
            f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"',
            shlex.join(("exec", str(self.binary), f"--backend-directory={backends}", *WITHOUT_GPU)) + ' "$@"',
        )
        command.write_text("\n".join((*lines, "")))
        command.chmod(0o755)
        return command


def find_embedded_triton() -> EmbeddedTriton:
    """The tritonserver of this environment. Raises SetupError if a part is missing."""
    spec = importlib.util.find_spec("pytriton")  # located, not imported: its Python API is not used
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
    """The folder of the shared Python library. Raises SetupError with the package that contains it."""
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


def _secrets() -> set[str]:
    """The variables that contain keys."""
    # Defined here, since the CPU image is built with this module and without the frontend's packages.
    from openai_frontend.settings import Settings

    keys = {name.upper() for name in Settings.model_fields if name.split("_")[-1] in {"key", "keys"}}
    return keys | {"API_KEYS_FILE", "TRITON_CONTROL_KEY_FILE", "TTS_API_KEY"}


def _split(value: str | None) -> list[str]:
    return [part for part in (value or "").split(os.pathsep) if part]


if __name__ == "__main__":
    # python -m local_stack.embedded FOLDER
    print(find_embedded_triton().make_command(Path(sys.argv[1]).absolute()))
