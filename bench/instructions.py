"""Restricts this process and its children to a part of the CPU's instruction set, to measure as on another CPU."""

import ctypes
import os
import sys
from pathlib import Path
from typing import Final

VARIABLE: Final = "BENCH_INSTRUCTIONS"
# FBGEMM has no variable for it; these are values of its `inst_set_t`.
_FBGEMM: Final = {"avx2": 1}
CHOICES: Final = tuple(_FBGEMM)


def restrict(instructions: str | None) -> None:
    """Call before torch is imported; MKL, which has no limit on AMD CPUs, is unchanged."""
    if instructions is None:
        return
    os.environ[VARIABLE] = instructions
    os.environ["ONEDNN_MAX_CPU_ISA"] = instructions.upper()
    os.environ["ATEN_CPU_CAPABILITY"] = instructions


def restart(module: str, instructions: str | None) -> None:
    """Run `module` again from its start, with this process's arguments, unless it is restricted already: for one that
    has imported torch."""
    if instructions and os.environ.get(VARIABLE) != instructions:
        restrict(instructions)
        os.execv(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]])


def restrict_fbgemm() -> None:
    """Call in each restricted process, after torch is imported and before anything is packed."""
    if instructions := os.environ.get(VARIABLE):
        import torch

        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib/libtorch_cpu.so"))
        library["_ZN6fbgemm14fbgemmForceIsaENS_10inst_set_tE"](_FBGEMM[instructions])
