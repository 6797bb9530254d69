"""Which models of a tritonserver run in processes: those of the Python backend."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

_OPTION: Final = "--model-repository="
_PYTHON: Final = re.compile(r'^\s*backend\s*:\s*"python"', re.MULTILINE)


def has_process(command: Sequence[str]) -> Callable[[str], bool]:
    """A function that tells whether the model of a name runs in a process, from its configuration; from a
    tritonserver's command line."""
    repositories = [Path(word.removeprefix(_OPTION)) for word in command if word.startswith(_OPTION)]
    return lambda model: any(_is_python(repository / model) for repository in repositories)


def _is_python(folder: Path) -> bool:
    try:
        return bool(_PYTHON.search((folder / "config.pbtxt").read_text(errors="replace")))
    except OSError:
        return False
