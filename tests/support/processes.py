"""The processes in which Triton runs its Python models."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

import psutil

from tests.support.stack import Stack


def stubs(stack: Stack) -> list[psutil.Process]:
    """Those of the stack's Triton, whatever their state."""
    return [child for child in psutil.Process(stack.triton.pid).children(recursive=True) if _is_stub(child)]


def stub_of(stack: Stack, model: str) -> psutil.Process:
    """The process of a loaded model."""
    [stub] = [stub for stub in stubs(stack) if any(f"/{model}/" in word for word in stub.cmdline())]
    return stub


def has_ended(process: psutil.Process) -> bool:
    """Gone, or dead and not yet waited for by its parent."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def shared_memory(processes: Iterable[psutil.Process]) -> set[Path]:
    """The files in /dev/shm that any of them has mapped."""
    maps = [row.path for process in processes for row in process.memory_maps() if row.path.startswith("/dev/shm/")]
    return {Path(path) for path in maps}


def _is_stub(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "triton_python_backend_stub" in " ".join(process.cmdline()[:1])
    return False
