"""The descendant processes of a tritonserver, read from /proc."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_STUB: Final = "triton_python_backend_stub"
_STOPPED: Final = "T"
_ZOMBIE: Final = "Z"


@dataclass(frozen=True, slots=True)
class Process:
    """A running or stopped process. `command`: its arguments, joined with spaces."""

    pid: int
    state: str
    command: str

    @property
    def is_stopped(self) -> bool:
        """Suspended by a signal (SIGSTOP), so that it does not answer."""
        return self.state == _STOPPED

    def serves(self, model: str) -> bool:
        """Whether it is a model process of `model`: the stub, or the shell that will execute it."""
        return _STUB in self.command and f"/{model}/" in self.command


def read_process(pid: int) -> Process | None:
    """The process; None if it has ended or is a zombie."""
    found = _read(Path(f"/proc/{pid}"))
    return found[1] if found and found[1].state != _ZOMBIE else None


def descendants(pid: int) -> list[Process]:
    """Every running process below `pid`."""
    children: defaultdict[int, list[Process]] = defaultdict(list)
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and (found := _read(folder)):
            children[found[0]].append(found[1])
    return [process for process in _below(pid, children) if process.state != _ZOMBIE]


def _below(pid: int, children: defaultdict[int, list[Process]]) -> Iterator[Process]:
    for child in children[pid]:
        yield child
        yield from _below(child.pid, children)


def _read(folder: Path) -> tuple[int, Process] | None:
    """A process and its parent's pid; None if it has ended meanwhile."""
    try:
        # The name, in parentheses, may contain anything, including parentheses and spaces.
        state, parent, *_ = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (OSError, ValueError):
        return None
    return int(parent), Process(int(folder.name), state, command)
