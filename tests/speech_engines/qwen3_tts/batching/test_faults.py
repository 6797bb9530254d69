"""The meaning of GPU errors: for one request, for the memory, for the process."""

import importlib.util
from dataclasses import replace
from typing import Any

import pytest

from speech_engines.faults import DeviceLostError, DeviceMemoryError
from speech_protocol.request import SpeechRequest
from tests.speech_engines.conftest import spec_of
from tests.support.types import CheckpointOf

pytestmark = pytest.mark.skipif(importlib.util.find_spec("qwen_tts") is None, reason="needs the extra 'qwen'")


class StickyError(RuntimeError):
    """As torch raises it: the process's context never recovers."""

    error_code = 700


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the GPU still computes, when it is asked."""
    from speech_engines.qwen3_tts.runner import gpu

    said: list[bool] = []
    monkeypatch.setattr(gpu, "_answers", lambda device: said.pop())
    return said


def fault(error: Exception) -> str:
    from speech_engines.qwen3_tts.runner.gpu import fault_of

    return fault_of(error, "cuda").name


def test_every_error_has_its_meaning(answers: list[bool]) -> None:
    import torch

    for text in (
        "CUDA error: out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate",
        "x out of memory",
    ):
        assert fault(RuntimeError(text)) == "OUT_OF_MEMORY"
    assert fault(torch.OutOfMemoryError("tried to allocate")) == "OUT_OF_MEMORY"
    assert fault(StickyError("CUDA error: an illegal memory access was encountered")) == "BROKEN"
    assert fault(ValueError("a bug of ours")) == "WORK"
    answers += [False, True]
    assert fault(RuntimeError("shape mismatch")) == "WORK"
    assert fault(RuntimeError("CUDA error: Xid that nobody foresaw")) == "BROKEN"


CALLS: dict[str, tuple[str, Any]] = {
    "prefill": ("_extend", lambda device: device.prefill(0)),
    "step": ("_step_frames", lambda device: device.step([0])),
    "decode": ("_decode_chunks", lambda device: device.decode([0], 1)),
}


@pytest.mark.parametrize("call", CALLS)
def test_errors_of_the_gpu_leave_each_call_of_the_device_by_their_meaning(
    tiny_checkpoint: CheckpointOf, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    import torch

    from speech_engines.qwen3_tts.checkpoint.checkpoint import open_checkpoint
    from speech_engines.qwen3_tts.config import EngineConfig
    from speech_engines.qwen3_tts.model.cache_ranges import CacheRange
    from speech_engines.qwen3_tts.runner.model_runner import TorchModelRunner
    from speech_engines.qwen3_tts.runner.placement import Placement

    spec, environment = spec_of("custom_voice"), {"MODEL_ID": str(tiny_checkpoint("custom_voice")), "DEVICE": "cpu"}
    config = replace(EngineConfig.from_environment(environment), max_batch=2)
    device = TorchModelRunner(spec, open_checkpoint(spec, environment), Placement.from_config(config), config)
    request = SpeechRequest("Hello.", seed=1)
    plan = device.plan(request)
    device.begin(0, CacheRange(0, 200), request, plan)
    part, work = CALLS[call]
    monkeypatch.setattr(device, "_placement", replace(device._placement, device="cuda"))
    for error, meaning in ((StickyError("gone"), DeviceLostError), (torch.OutOfMemoryError("full"), DeviceMemoryError)):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(device, part, fail)
        with pytest.raises(meaning):
            work(device)


def test_a_step_without_memory_has_changed_nothing(
    tiny_checkpoint: CheckpointOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from speech_engines.qwen3_tts.model.frame_model import FrameModel
    from speech_engines.qwen3_tts.runner.bucketed import BucketedFrames
    from tests.speech_engines.qwen3_tts.model.test_frame_model import POSITIONS, prefill, requests_like
    from tests.support.tape import TapeRecorder

    model = FrameModel.load(tiny_checkpoint("custom_voice"), "cpu", torch.float32, 2, 2 * POSITIONS)
    request = requests_like(model)[0]
    for bucketed in (False, True):
        step = BucketedFrames(model, TapeRecorder()).step if bucketed else model.step
        said = []
        for fails in (False, True):
            prefill(model, 0, request.embeds, request.trailing, request.sampling)
            rows = [step([0])[0].clone() for _ in range(3)]
            if fails:
                with monkeypatch.context() as patch:
                    # As late in a frame as there is work.
                    patch.setattr(type(model.talker), "logits", lambda *_: (_ for _ in ()).throw(RuntimeError("full")))
                    with pytest.raises(RuntimeError, match="full"):
                        step([0])
            said.append(torch.cat([*rows, *[step([0])[0].clone() for _ in range(5)]]))
        assert torch.equal(*said)
