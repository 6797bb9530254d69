"""The GPU of a process: whether it is usable, in which precision, and which errors it never recovers
from. Imports torch where it is needed only.

Nothing is planned, compiled or tuned in a request. What the libraries do at a first use, and when it happens here:

- cuDNN builds an attention plan for every new shape and thread, in tenths of a second. It is switched off:
  the other kernels of `scaled_dot_product_attention` need no plan.
- cuBLAS takes a handle and a workspace for a thread and a stream, cuBLASLt chooses a kernel for a shape, and CUDA loads
  a kernel's code, each at the first use: in the warm-up and in the capture of every shape, at the load.
- cuDNN chooses an algorithm for each shape of a convolution. The talker, the code predictor and the codec's decoder
  have none of its convolutions; the encoders of a voice to clone do, and their shape is the recording's length. They
  run beside the batch, on a separate thread and stream, and are warmed up at the load of such a checkpoint.
- cuFFT plans are not made: spectrograms are computed on the CPU.
- Nothing is compiled by torch.compile, Triton's language or NVRTC.
- CUDA graphs are captured at the load. A shape without one runs kernel by kernel.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import Final

from speech_engines.faults import DeviceLostError, DeviceMemoryError

# Device files of a GPU driver, and of the Windows Subsystem for Linux.
_DEVICE_FILES: Final = ("/dev/nvidiactl", "/dev/dxg")
# CUDA errors after which every call of the process fails. Other errors may have the same effect, so the device is also
# probed.
_STICKY_CODES: Final = frozenset({
    46,  # devices unavailable
    214, 220, 221,  # uncorrectable ECC and NVLink errors, contained or not
    700, 702, 710, 714, 715, 716, 717, 718, 719, 720,  # illegal access, time-out, assert, ..., failed launch
    911, 999,
})  # fmt: skip
# Messages of CUDA, cuBLAS and cuDNN, and of a CPU.
_NO_MEMORY: Final = ("out of memory", "STATUS_ALLOC_FAILED", "can't allocate memory")
_BFLOAT16_SINCE: Final = (8, 0)


class Fault(Enum):
    """The meaning of a device error: this work failed; it lacked memory; the device is lost."""

    WORK = auto()
    OUT_OF_MEMORY = auto()
    BROKEN = auto()


def prepare_process() -> None:
    """Process-wide settings of torch: see above."""
    import torch

    torch.backends.cuda.enable_cudnn_sdp(False)


def is_present(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process has a GPU, usable or not."""
    if environment.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1", "NoDevFiles"):
        return False
    return any(Path(file).exists() for file in _DEVICE_FILES)


def why_unusable(device: str = "cuda") -> str | None:
    """A sentence on why `device` can't be used; None if it can."""
    import torch

    if torch.version.cuda is None:
        return "this PyTorch was built without CUDA. Install one with it."
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return _driver_problem(str(error), torch.version.cuda)
    count, index = torch.cuda.device_count(), torch.device(device).index or 0
    if index >= count:
        known = ", ".join(f"cuda:{number}" for number in range(count)) or "none"
        return f"there is no {device} (there is: {known})."
    capability = torch.cuda.get_device_capability(index)
    built = torch.cuda.get_arch_list()
    if not any(_runs(arch, capability) for arch in built):
        name, (major, minor) = torch.cuda.get_device_name(index), capability
        return (
            f"the compute capability of this {name} is {major}.{minor}, and this PyTorch has kernels for "
            f"{', '.join(built)} only. Use a newer GPU, or a build of PyTorch for this one."
        )
    return None


def dtype_for(device: str) -> str:
    """The precision of the talker on that GPU. Without bfloat16 it is float32: in float16 the real weights overflow."""
    import torch

    return "bfloat16" if torch.cuda.get_device_capability(device) >= _BFLOAT16_SINCE else "float32"


def driver_version() -> str:
    """The version of the NVIDIA driver, empty if unknown."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    found = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", text)
    return found[1] if found else ""


@contextmanager
def device_errors(device: str) -> Iterator[None]:
    """A context in which torch errors that concern more than one request are raised as those of `faults`."""
    try:
        yield
    except RuntimeError as error:
        match fault_of(error, device):
            case Fault.OUT_OF_MEMORY:
                raise DeviceMemoryError(str(error)) from None
            case Fault.BROKEN:
                raise DeviceLostError(str(error)) from None
        raise


def fault_of(error: BaseException, device: str) -> Fault:
    """Probes the device if the error is not conclusive, which waits for it."""
    import torch

    text = str(error)
    if isinstance(error, torch.OutOfMemoryError) or any(sign in text for sign in _NO_MEMORY):
        return Fault.OUT_OF_MEMORY
    if device == "cpu" or not isinstance(error, RuntimeError):
        return Fault.WORK
    if getattr(error, "error_code", None) in _STICKY_CODES:  # of a torch.AcceleratorError
        return Fault.BROKEN
    return Fault.WORK if _answers(device) else Fault.BROKEN


def _answers(device: str) -> bool:
    """Whether the device still computes: after an unrecoverable error, every call fails."""
    import torch

    try:
        torch.cuda.synchronize(device)
        return float(torch.ones(2, device=device).sum()) == 2
    except RuntimeError as error:
        return fault_of(error, "cpu") is Fault.OUT_OF_MEMORY


def _driver_problem(text: str, cuda: str) -> str:
    if "too old" in text:
        version = f" {driver_version()}".rstrip()
        return f"its driver{version} is too old for CUDA {cuda}, which this PyTorch was built with. Update the driver."
    reason = (text.strip() or "no reason given").splitlines()[0].rstrip(".")
    return f"CUDA can't be initialised ({reason})."


def _runs(arch: str, capability: tuple[int, int]) -> bool:
    """Whether code for `arch`, such as sm_86 or compute_120, runs on a GPU of that capability."""
    match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", arch)
    if match is None:
        return False
    built = (int(match[2]), int(match[3]))
    if match[4] == "a":
        return built == capability
    if match[1] == "compute":  # PTX, which the driver compiles for any newer GPU
        return built <= capability
    return built[0] == capability[0] and built[1] <= capability[1]
