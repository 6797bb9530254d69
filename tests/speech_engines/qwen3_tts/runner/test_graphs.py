"""The engine in the captured shapes of a GPU, recorded by a tape on a CPU."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from speech_engines.base import Capabilities, Engine, Samples
from speech_protocol.models import Task
from speech_protocol.request import SpeechRequest
from tests.speech_engines.conftest import spec_of
from tests.speech_engines.qwen3_tts.batching.test_batching_engine import recording
from tests.support.sinks import CollectingSink
from tests.support.tape import TapeRecorder
from tests.support.types import CheckpointOf

pytestmark = pytest.mark.skipif(importlib.util.find_spec("qwen_tts") is None, reason="needs the extra 'qwen'")

SHARED: dict[str, object] = {"seed": 5, "max_audio_seconds": 1.7}
REQUESTS: tuple[dict[str, object], ...] = (
    {"text": "Hello there.", "temperature": 0.0},
    {"text": "How are you?", "speaker": "ryan"},
    {"text": "One two three four five six seven eight nine ten, and so on and on.", "top_p": 0.8},
)


@contextmanager
def engine_with(recorder: TapeRecorder | None, folder: str, variant: str = "custom_voice") -> Iterator[Engine]:
    from speech_engines.qwen3_tts.batching.engine import BatchEngine
    from speech_engines.qwen3_tts.checkpoint.checkpoint import open_checkpoint
    from speech_engines.qwen3_tts.config import EngineConfig
    from speech_engines.qwen3_tts.runner.model_runner import TorchModelRunner
    from speech_engines.qwen3_tts.runner.placement import Placement

    spec = spec_of(variant)
    environment = {spec.checkpoint_variable: folder, "DEVICE": "cpu", "DTYPE": "float32"}
    config = replace(EngineConfig.from_environment(environment), max_batch=3)
    device = TorchModelRunner(spec, open_checkpoint(spec, environment), Placement.from_config(config), config, recorder)
    what = Capabilities("qwen3-tts", "tiny", "cpu", Task.CUSTOM_VOICE, ("english",), notes=device.notes)
    engine = BatchEngine(device, what, max_queue=9)
    try:
        yield engine
    finally:
        engine.close()


def speak_all(engine: Engine, requests: tuple[dict[str, object], ...] = REQUESTS) -> list[Samples]:
    """One by one, then all together."""
    said = []
    for group in (*((request,) for request in requests), requests):
        sinks = [CollectingSink() for _ in group]
        for sink, request in zip(sinks, group, strict=True):
            engine.submit(SpeechRequest(**{**SHARED, **request}), sink)  # type: ignore[arg-type]
        for sink in sinks:
            sink.result()
            said.append(sink.samples)
    return said


def test_requests_in_recorded_shapes_say_what_they_say_without_and_record_nothing(
    tiny_checkpoint: CheckpointOf,
) -> None:
    folder, recorder = str(tiny_checkpoint("custom_voice")), TapeRecorder()
    with engine_with(None, folder) as plain:
        expected = speak_all(plain)
    with engine_with(recorder, folder) as recorded:
        at_load = recorder.recordings
        # Codec: two numbers of streams, three of frames; frames: 1, 2 and 3 rows, 1 and 3 long ones; five prompts.
        assert at_load == 2 * 3 + 3 + 2 + 5
        assert recorded.capabilities.notes == ()
        for samples, wanted in zip(speak_all(recorded), expected, strict=True):
            np.testing.assert_allclose(samples, wanted, atol=1e-4)
        assert recorder.recordings == at_load


def test_a_clone_in_recorded_shapes_goes_on_from_its_recording(tiny_checkpoint: CheckpointOf) -> None:
    folder = str(tiny_checkpoint("base"))
    requests = ({"text": "Hello.", "ref_audio": recording(150), "ref_text": "La."},)
    with engine_with(None, folder, "base") as plain, engine_with(TapeRecorder(), folder, "base") as recorded:
        for samples, wanted in zip(speak_all(recorded, requests), speak_all(plain, requests), strict=True):
            np.testing.assert_allclose(samples, wanted, atol=1e-4)


FAILURES: dict[str, tuple[Callable[[], TapeRecorder], str]] = {
    "capture fails": (lambda: TapeRecorder(fails=True), "could not be captured"),
    "replays differ": (lambda: TapeRecorder(wrong_by=1.0), "gives other results"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_graphs_that_fail_or_differ_are_not_used_and_the_model_says_so(
    tiny_checkpoint: CheckpointOf, caplog: pytest.LogCaptureFixture, failure: str
) -> None:
    make, sentence = FAILURES[failure]
    folder = str(tiny_checkpoint("custom_voice"))
    with engine_with(None, folder) as plain:
        expected = speak_all(plain)
    with engine_with(make(), folder) as engine:
        notes = engine.capabilities.notes
        assert len(notes) == 16
        assert all(sentence in note for note in notes)
        assert "a frame of 3 rows and 512 positions" in notes[8]
        published: list[float] = []
        engine.report_to(lambda stats: published.append(stats["tts_engine_unused_graphs"]))
        for samples, wanted in zip(speak_all(engine), expected, strict=True):
            np.testing.assert_allclose(samples, wanted, atol=1e-4)
        assert published[-1] == 16
    assert any(record.levelname in ("WARNING", "ERROR") for record in caplog.records)


def test_a_paused_utterance_goes_on_exactly(tiny_checkpoint: CheckpointOf) -> None:
    import torch

    from speech_engines.qwen3_tts.model.cache_ranges import CacheRange
    from speech_engines.qwen3_tts.model.frame_model import FrameModel
    from tests.speech_engines.qwen3_tts.model.test_frame_model import prefill, requests_like

    model = FrameModel.load(tiny_checkpoint("custom_voice"), "cpu", torch.float32, 2, 400)
    request, other = requests_like(model)[:2]

    def say(moved: bool) -> torch.Tensor:
        model.begin(0, CacheRange(40, 100), request.trailing, request.sampling)
        model.extend(0, request.embeds)
        frames = [model.step([0])[0].clone() for _ in range(4)]
        if moved:
            model.move(0, CacheRange(30, 120))  # over itself
            frames += [model.step([0])[0].clone() for _ in range(4)]
            model.pause(0)
            prefill(model, 1, other.embeds, other.trailing, other.sampling)  # into the places that are free now
            model.step([1])
            model.resume(0, CacheRange(250, 120))
        return torch.cat([*frames, *[model.step([0])[0].clone() for _ in range(16 - len(frames))]])

    assert torch.equal(say(False), say(True))


def test_the_threads_stream_is_restored_after_a_capture_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from speech_engines.qwen3_tts.runner.cuda_graph import CudaRecorder

    class Stream:
        def __init__(self, device: object = None) -> None:
            self.waited: list[Stream] = []

        def wait_stream(self, other: "Stream") -> None:
            self.waited.append(other)

    own = Stream()
    current = [own]

    class Capture:
        """As torch's: an error at the end of a capture leaves the stream as it is."""

        def __init__(self, graph: object, stream: Stream, **_: object) -> None:
            self._stream = stream

        def __enter__(self) -> None:
            current[0] = self._stream

        def __exit__(self, *_: object) -> None:
            raise RuntimeError("operation failed due to a previous error during capture")

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: current[0])
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: current.__setitem__(0, stream))
    monkeypatch.setattr(torch.cuda, "graph", Capture)
    with pytest.raises(RuntimeError, match="operation failed"):
        CudaRecorder(torch.device("cuda")).record(lambda: torch.zeros(1))
    assert current[0] is own
