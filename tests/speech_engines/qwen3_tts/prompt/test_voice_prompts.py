"""Voice prompts: the same as upstream's, each request its own, and a bounded cache."""

import importlib.util
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech_engines.base import Samples
from speech_protocol.audio import SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.request import BlendPart, SpeechRequest
from tests.speech_engines.conftest import EngineOf
from tests.support.types import CheckpointOf

pytestmark = pytest.mark.skipif(importlib.util.find_spec("qwen_tts") is None, reason="needs the extra 'qwen'")

WAIT_S = 60.0
VOICES = 16


def recording(hz: float, seconds: float = 0.7) -> bytes:
    time_s = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    wave = np.sin(2 * np.pi * hz * time_s) + 0.3 * np.sin(2 * np.pi * 3.1 * hz * time_s)
    return (wave * 9000).astype("<i2").tobytes()


def request_of(hz: float = 120, **fields: Any) -> SpeechRequest:
    return SpeechRequest("Hi.", **{"ref_audio": recording(hz), **fields})


class CountingEncoder:
    """A prompt whose x-vector is the loudest sample and the count of samples, and a note of each computation."""

    def __init__(self) -> None:
        self.encoded: list[tuple[int, str | None]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()

    def load(self) -> None:
        pass

    def encode(self, samples: Samples, ref_text: str | None) -> Any:
        import torch

        from speech_engines.qwen3_tts.prompt.voice_prompts import VoicePrompt

        self.waiting.set()
        assert self.gate.wait(WAIT_S)
        self.encoded.append((len(samples), ref_text))
        return VoicePrompt(torch.tensor([float(samples.max()), len(samples)]))


def prompts_over(encoder: Any, **settings: Any) -> Any:
    from speech_engines.qwen3_tts.prompt.voice_prompts import VoicePrompts

    return VoicePrompts(encoder, **settings)


def get(prompts: Any, request: SpeechRequest) -> Any:
    from speech_engines.qwen3_tts.prompt.voice_prompts import voice_keys

    return prompts.get(request, voice_keys(request))


def encoder_of(folder: Path) -> Any:
    from speech_engines.qwen3_tts.checkpoint.checkpoint import Checkpoint
    from speech_engines.qwen3_tts.prompt.voice_prompts import VoiceEncoder

    return VoiceEncoder(Checkpoint("tiny", folder, json.loads((folder / "config.json").read_text(encoding="utf-8"))))


# The same as upstream's


@pytest.mark.parametrize("seconds", [0.5, 0.7, 1.28, 3.333])
@pytest.mark.parametrize("fields", [{}, {"ref_text": " Said. "}, {"ref_text": "Said.", "x_vector_only": True}])
def test_a_voice_prompt_is_upstreams(
    reference_engine: EngineOf, tiny_checkpoint: CheckpointOf, fields: dict[str, Any], seconds: float
) -> None:
    import torch

    from speech_engines.qwen3_tts.prompt.voice_prompts import transcript_of

    request = request_of(ref_audio=recording(150, seconds), **fields)
    reference = reference_engine("base").synthesizer
    [expected] = reference._upstream.create_voice_clone_prompt(**reference._reference(request))
    prompt = get(prompts_over(encoder_of(tiny_checkpoint("base"))), request)
    torch.testing.assert_close(prompt.x_vector, expected.ref_spk_embedding, rtol=0, atol=1e-6)
    assert transcript_of(request) == expected.ref_text
    if expected.x_vector_only_mode:
        assert prompt.ref_codes is None
    else:
        assert prompt.ref_codes.dtype == torch.int64
        assert torch.equal(prompt.ref_codes, expected.ref_code)


def test_only_the_encoders_of_a_base_checkpoint_are_loaded_and_only_when_needed(tiny_checkpoint: CheckpointOf) -> None:
    encoder = encoder_of(tiny_checkpoint("base"))
    assert encoder._modules is None
    encoder.load()
    _, speaker_encoder, codec_encoder = modules = encoder._modules
    assert not speaker_encoder.training
    assert not codec_encoder.training
    assert not [name for name, _ in codec_encoder.named_parameters() if name.startswith("decoder")]
    encoder.load()
    assert encoder._modules is modules


@pytest.mark.parametrize("variant", ["custom_voice", "voice_design"])
def test_a_checkpoint_that_cannot_clone_refuses_and_loads_nothing(tiny_checkpoint: CheckpointOf, variant: str) -> None:
    encoder = encoder_of(tiny_checkpoint(variant))
    with pytest.raises(SpeechError) as error:
        get(prompts_over(encoder), request_of())
    assert error.value.code is ErrorCode.UNSUPPORTED_TASK
    assert encoder._modules is None


# Each request has its own


def test_sixteen_references_at_once_give_sixteen_prompts_each_its_own(tiny_checkpoint: CheckpointOf) -> None:
    import torch

    requests = [request_of(90 + 20 * index, ref_text=f"Voice {index}.") for index in range(VOICES)]
    alone = [get(prompts_over(encoder_of(tiny_checkpoint("base"))), request) for request in requests[:4]]
    prompts = prompts_over(encoder_of(tiny_checkpoint("base")))
    barrier = threading.Barrier(VOICES)

    def ask(request: SpeechRequest) -> Any:
        barrier.wait(WAIT_S)
        return get(prompts, request)

    with ThreadPoolExecutor(VOICES) as pool:
        together = list(pool.map(ask, requests, timeout=WAIT_S))
    assert len({prompt.x_vector.numpy().tobytes() for prompt in together}) == VOICES
    assert len({prompt.ref_codes.numpy().tobytes() for prompt in together}) == VOICES
    for prompt, other in zip(alone, together, strict=False):
        assert torch.equal(prompt.x_vector, other.x_vector)
        assert torch.equal(prompt.ref_codes, other.ref_codes)
    assert all(get(prompts, request) is prompt for request, prompt in zip(requests, together, strict=True))


def test_recordings_are_distinguished_by_their_content() -> None:
    encoder = CountingEncoder()
    prompts = prompts_over(encoder)
    one, other = request_of(120), request_of(ref_audio=recording(120, 0.9))
    assert get(prompts, one).x_vector.tolist() != get(prompts, other).x_vector.tolist()
    assert get(prompts, request_of(120)) is get(prompts, one)
    assert len(encoder.encoded) == 2


def test_transcript_and_mode_make_another_prompt_but_a_transcript_that_is_not_used_does_not() -> None:
    encoder = CountingEncoder()
    prompts = prompts_over(encoder)
    x_vector = get(prompts, request_of())
    assert get(prompts, request_of(ref_text="A.")) is not x_vector
    assert get(prompts, request_of(ref_text="B.")) is not x_vector
    assert get(prompts, request_of(ref_text="A.", x_vector_only=True)) is x_vector
    assert get(prompts, request_of(ref_text=" \n")) is x_vector
    assert [ref_text for _, ref_text in encoder.encoded] == [None, "A.", "B."]


@pytest.mark.parametrize(
    ("ref_audio", "code"),
    [(None, ErrorCode.INVALID_REQUEST), (recording(120, 0.4), ErrorCode.INVALID_REFERENCE_AUDIO)],
)
def test_a_request_without_enough_of_a_voice_is_refused(ref_audio: bytes | None, code: ErrorCode) -> None:
    with pytest.raises(SpeechError) as error:
        get(prompts_over(CountingEncoder()), request_of(ref_audio=ref_audio))
    assert error.value.code is code
    assert error.value.param == "ref_audio"


# The cache is bounded


def test_a_hit_computes_nothing() -> None:
    encoder = CountingEncoder()
    prompts = prompts_over(encoder)
    first = get(prompts, request_of())
    assert all(get(prompts, request_of()) is first for _ in range(3))
    assert len(encoder.encoded) == 1


@contextmanager
def stuck(encoder: CountingEncoder) -> Iterator[None]:
    encoder.waiting.clear()
    encoder.gate.clear()
    try:
        yield
    finally:
        encoder.gate.set()


def test_a_cache_hit_does_not_wait_for_another_voice() -> None:
    encoder = CountingEncoder()
    prompts = prompts_over(encoder)
    kept = get(prompts, request_of(120))
    with ThreadPoolExecutor(1) as pool, stuck(encoder):
        slow = pool.submit(get, prompts, request_of(240))
        assert encoder.waiting.wait(WAIT_S)
        assert get(prompts, request_of(120)) is kept
        assert not slow.done()


def test_a_voice_with_concurrent_requests_is_computed_once() -> None:
    encoder = CountingEncoder()
    prompts = prompts_over(encoder)
    with ThreadPoolExecutor(8) as pool:
        with stuck(encoder):
            waiting = [pool.submit(get, prompts, request_of()) for _ in range(8)]
            assert encoder.waiting.wait(WAIT_S)
        answers = {id(future.result(WAIT_S)) for future in waiting}
    assert len(answers) == len(encoder.encoded) == 1


def test_the_least_recently_used_prompt_goes_first_and_the_bound_in_bytes_holds() -> None:
    encoder = CountingEncoder()
    size_bytes = get(prompts_over(CountingEncoder()), request_of(ref_text="A.")).size_bytes
    prompts = prompts_over(encoder, capacity_bytes=3 * size_bytes)
    lengths = {name: request_of(ref_text=f"{name}.") for name in "ABCD"}
    for name in "ABCAD":  # so B was used the longest ago
        get(prompts, lengths[name])
        assert prompts.size_bytes <= 3 * size_bytes
    assert [ref_text for _, ref_text in encoder.encoded] == ["A.", "B.", "C.", "D."]
    for name in "ACD":
        get(prompts, lengths[name])
    assert len(encoder.encoded) == 4
    get(prompts, lengths["B"])
    assert len(encoder.encoded) == 5
    assert prompts.size_bytes == 3 * size_bytes


def test_a_prompt_larger_than_the_cache_is_returned_but_not_cached() -> None:
    encoder = CountingEncoder()
    prompts = prompts_over(encoder, capacity_bytes=1)
    assert get(prompts, request_of()).x_vector.tolist() == get(prompts, request_of()).x_vector.tolist()
    assert prompts.size_bytes == 0
    assert len(encoder.encoded) == 2


def test_a_failed_computation_is_tried_again_by_the_next_request() -> None:
    class FailsOnce(CountingEncoder):
        def encode(self, samples: Samples, ref_text: str | None) -> Any:
            if not self.encoded:
                self.encoded.append((0, None))
                raise MemoryError
            return super().encode(samples, ref_text)

    encoder = FailsOnce()
    prompts = prompts_over(encoder)
    with pytest.raises(MemoryError):
        get(prompts, request_of())
    assert len(get(prompts, request_of()).x_vector) == 2
    assert prompts.size_bytes > 0


def test_the_size_of_a_prompt_counts_all_that_it_holds() -> None:
    import torch

    from speech_engines.qwen3_tts.prompt.voice_prompts import VoicePrompt

    x_vector, ref_codes = torch.zeros(1024), torch.zeros(12, 16, dtype=torch.int64)
    assert VoicePrompt(x_vector).size_bytes == 4096
    assert VoicePrompt(x_vector, ref_codes).size_bytes == 4096 + 12 * 16 * 8


# Blends


def blend_of(*parts: tuple[float, float]) -> SpeechRequest:
    return SpeechRequest("Hi.", ref_blend=tuple(BlendPart(recording(hz), weight) for hz, weight in parts))


def test_a_blend_is_the_weighted_mean_of_its_voices_x_vectors(tiny_checkpoint: CheckpointOf) -> None:
    import torch

    prompts = prompts_over(encoder_of(tiny_checkpoint("base")))
    low, high = (get(prompts, request_of(hz)).x_vector for hz in (110, 330))
    blend = get(prompts, blend_of((110, 2), (330, 1)))
    torch.testing.assert_close(blend.x_vector, (2 * low + high) / 3)
    assert blend.ref_codes is None
    assert not torch.allclose(blend.x_vector, low)
    torch.testing.assert_close(get(prompts, blend_of((110, 7))).x_vector, low)


def test_the_voices_of_a_blend_are_computed_once_and_shared_with_plain_clones() -> None:
    encoder = CountingEncoder()
    prompts = prompts_over(encoder)
    get(prompts, request_of(120))
    for weight in (1, 2, 3):
        get(prompts, blend_of((120, weight), (240, 1)))
    assert [ref_text for _, ref_text in encoder.encoded] == [None, None]


def test_on_a_gpu_a_recording_is_encoded_on_a_stream_of_its_own_and_complete_when_it_is_kept(
    tiny_checkpoint: CheckpointOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from speech_engines.qwen3_tts.checkpoint.checkpoint import open_checkpoint
    from speech_engines.qwen3_tts.prompt.voice_prompts import VoiceEncoder, VoicePrompt
    from tests.speech_engines.conftest import spec_of

    events: list[str] = []

    class Stream:
        def __init__(self, device: object) -> None:
            assert str(device) == "cuda"

        def __enter__(self) -> None:
            events.append("enter")

        def __exit__(self, *_: object) -> None:
            events.append("leave")

        def synchronize(self) -> None:
            events.append("wait")

    def encode(*_: object) -> VoicePrompt:
        events.append("encode")
        return VoicePrompt(torch.zeros(4))

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    spec = spec_of("base")
    checkpoint = open_checkpoint(spec, {spec.checkpoint_variable: str(tiny_checkpoint("base"))})
    encoder = VoiceEncoder(checkpoint, "cuda")
    monkeypatch.setattr(encoder, "load", lambda: None)
    monkeypatch.setattr(encoder, "_encode", encode)
    encoder.encode(np.zeros(100, np.float32), None)
    assert events == ["enter", "encode", "leave", "wait"]
