"""The device and precision of an engine on machines with every kind of GPU and driver."""

import importlib.util
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from speech_protocol.errors import ErrorCode, SpeechError
from tests.speech_engines.conftest import spec_of
from tests.support.types import CheckpointOf

pytestmark = pytest.mark.skipif(importlib.util.find_spec("qwen_tts") is None, reason="needs the extra 'qwen'")

ARCHITECTURES = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]
Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """`machine(capability, problem)`: a GPU of that compute capability, whose driver fails with `problem`."""
    import torch

    from speech_engines.qwen3_tts.runner import gpu

    def make(
        capability: tuple[int, int] = (9, 0), problem: str = "", count: int = 1, cuda: str | None = "13.0"
    ) -> None:
        def init() -> None:
            if problem:
                raise RuntimeError(problem)

        monkeypatch.setattr(gpu, "is_present", lambda: True)
        monkeypatch.setattr(gpu, "driver_version", lambda: "470.82.01")
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.cuda, "init", init)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: not problem)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=0: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=0: "GPU of a test")
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ARCHITECTURES)

    return make


def place(**settings: str):  # type: ignore[no-untyped-def]
    from speech_engines.qwen3_tts.config import EngineConfig
    from speech_engines.qwen3_tts.runner.placement import Placement

    return Placement.from_config(
        EngineConfig.from_environment({name.upper(): value for name, value in settings.items()})
    )


@pytest.mark.parametrize(
    ("capability", "dtype"), [((7, 5), "float32"), ((8, 0), "bfloat16"), ((8, 9), "bfloat16"), ((12, 1), "bfloat16")]
)
def test_the_precision_is_what_the_gpu_has_and_the_real_weights_bear(
    machine: Machine, capability: tuple[int, int], dtype: str
) -> None:
    machine(capability)
    assert (place().device, place().dtype, place().notes) == ("cuda", dtype, ())
    assert place(dtype="float16").dtype == "float16"


def test_a_placement_on_a_gpu_switches_cudnns_attention_off_for_the_process(machine: Machine) -> None:
    import torch

    torch.backends.cuda.enable_cudnn_sdp(True)
    machine()
    place()
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.backends.cuda.flash_sdp_enabled()
    assert torch.backends.cuda.mem_efficient_sdp_enabled()


UNUSABLE: dict[str, tuple[dict[str, object], str]] = {
    "old driver": (
        {"problem": "The NVIDIA driver on your system is too old (found version 11040)."},
        r"its driver 470\.82\.01 is too old for CUDA 13\.0",
    ),
    "no driver": ({"problem": "Found no NVIDIA driver on your system.\nPlease check"}, "Found no NVIDIA driver"),
    "old GPU": ({"capability": (7, 0)}, r"compute capability of this GPU of a test is 7\.0.*sm_75"),
    "PyTorch without CUDA": ({"cuda": None}, "this PyTorch was built without CUDA"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_gpu_that_cannot_be_used_is_one_sentence_and_the_cpu_serves_where_that_may_be(
    machine: Machine, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    fields, sentence = UNUSABLE[case]
    machine(**fields)
    with caplog.at_level(logging.WARNING):
        placement = place()
    assert placement.device == "cpu"
    (note,) = placement.notes
    assert re.search(sentence, note)
    assert [record.getMessage() for record in caplog.records] == [note]


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
@pytest.mark.parametrize("case", UNUSABLE)
def test_device_cuda_never_means_the_cpu(machine: Machine, case: str, device: str) -> None:
    fields, sentence = UNUSABLE[case]
    machine(**fields)
    with pytest.raises(SpeechError, match=sentence) as error:
        place(device=device)
    assert error.value.code is ErrorCode.MODEL_UNAVAILABLE
    assert error.value.message.startswith(f"DEVICE is {device}, and the GPU can't be used: ")


def test_a_gpu_that_is_not_there_is_refused_naming_those_that_are(machine: Machine) -> None:
    machine(count=2)
    assert place(device="cuda:1").device == "cuda:1"
    with pytest.raises(SpeechError, match=r"there is no cuda:2 \(there is: cuda:0, cuda:1\)"):
        place(device="cuda:2")


def test_newer_gpus_run_code_of_older_ones_of_their_kind_and_what_the_driver_compiles() -> None:
    from speech_engines.qwen3_tts.runner.gpu import _runs

    assert _runs("sm_80", (8, 9))
    assert not _runs("sm_86", (8, 0))
    assert not _runs("sm_90a", (9, 1))
    assert _runs("sm_90a", (9, 0))
    assert _runs("compute_120", (13, 0))
    assert not _runs("compute_120", (10, 0))


@pytest.mark.parametrize("visible", ["", "-1"])
def test_a_gpu_that_is_hidden_from_the_process_is_no_fault(visible: str) -> None:
    from speech_engines.qwen3_tts.runner.gpu import is_present

    assert not is_present({"CUDA_VISIBLE_DEVICES": visible})


def test_the_load_error_and_the_start_event_say_it(machine: Machine, tiny_checkpoint: CheckpointOf) -> None:
    from speech_engines.qwen3_tts.factory import create_engine

    machine((7, 0))
    environment = {"MODEL_ID": str(tiny_checkpoint("custom_voice")), "MAX_BATCH": "1", "WEIGHTS": "full"}
    with pytest.raises(SpeechError, match="DEVICE is cuda, and the GPU can't be used: the compute capability"):
        create_engine(spec_of("custom_voice"), {**environment, "DEVICE": "cuda"})
    engine = create_engine(spec_of("custom_voice"), environment)
    try:
        assert engine.capabilities.device == "cpu"
        assert "compute capability" in engine.capabilities.notes[0]
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("settings", "speedup", "weights", "device"),
    [
        ({}, 1.5, "int8", "cpu, int8 weights"),
        ({}, 1.1, "full", "cpu"),
        ({"weights": "int8"}, 1.1, "int8", "cpu, int8 weights"),
        ({"weights": "full"}, 1.5, "full", "cpu"),
        ({"dtype": "float32"}, 1.5, "full", "cpu"),
        ({"dtype": "float32", "weights": "int8"}, 1.5, "int8", "cpu, int8 weights"),
        ({"engine": "reference"}, 1.5, "full", "cpu"),
    ],
)
def test_weights_on_a_cpu_are_int8_where_asked_for_or_where_that_is_measured_to_be_faster(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], speedup: float, weights: str, device: str
) -> None:
    monkeypatch.setattr("speech_engines.qwen3_tts.model.weights.int8_speedup", lambda dtype: speedup)
    monkeypatch.setattr("speech_engines.qwen3_tts.model.int8.is_available", lambda: True)
    placement = place(device="cpu", **settings)
    assert (placement.weights, placement.describe()) == (weights, device)


@pytest.mark.parametrize(("weights", "exact"), [("full", True), ("int8", False)])
def test_the_codec_is_exact_with_full_weights_and_in_fp16_with_int8_ones(
    tiny_checkpoint: CheckpointOf, monkeypatch: pytest.MonkeyPatch, weights: str, exact: bool
) -> None:
    import torch

    from speech_engines.qwen3_tts.codec.decoder import Codec
    from speech_engines.qwen3_tts.factory import create_engine
    from speech_engines.qwen3_tts.model import int8

    if not int8.is_available():
        pytest.skip("int8 weights need AVX2")
    loaded: list[bool] = []
    read = Codec.read

    def recorded(folder: Path, device: torch.device, *, exact: bool) -> Codec:
        loaded.append(exact)
        return read(folder, device, exact=exact)

    monkeypatch.setattr(Codec, "read", recorded)
    environment = {"MODEL_ID": str(tiny_checkpoint("custom_voice")), "DEVICE": "cpu", "MAX_BATCH": "1"}
    create_engine(spec_of("custom_voice"), {**environment, "WEIGHTS": weights}).close()
    assert loaded == [exact]


def test_int8_weights_are_refused_where_they_can_not_be_had(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine()
    assert place(device="cuda").weights == "full"
    monkeypatch.setattr("speech_engines.qwen3_tts.model.int8.is_available", lambda: False)
    assert place(device="cpu").weights == "full"
    for device in ("cpu", "cuda"):
        with pytest.raises(SpeechError, match=r"WEIGHTS is 'int8'; it must be auto or full on a GPU") as refused:
            place(device=device, weights="int8")
        assert refused.value.code is ErrorCode.MODEL_UNAVAILABLE


def test_the_measurement_of_int8_weights_gives_a_ratio() -> None:
    import torch

    from speech_engines.qwen3_tts.model.weights import int8_speedup

    assert 0 < int8_speedup(torch.bfloat16) < 1000
