"""Equalities that hold on every device: batched and single, streamed and whole, our codes and those of qwen-tts."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch

from speech_engines.base import Samples
from speech_engines.qwen3_tts.batching.engine import DEFAULT_RAMP
from speech_engines.qwen3_tts.checkpoint.checkpoint import Checkpoint
from speech_engines.qwen3_tts.config import EngineConfig
from speech_engines.qwen3_tts.model.cache_ranges import CacheRange
from speech_engines.qwen3_tts.runner.model_runner import TorchModelRunner
from speech_engines.qwen3_tts.runner.placement import Placement
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from speech_protocol.models import ModelSpec, Task
from speech_protocol.request import SpeechRequest

TOLERANCE: Final = 1e-3  # of samples, which are in -1..1
TEXT: Final = "The quick brown fox jumps over the lazy dog, and then it does so once more, because it can."
_ROWS: Final = 4
_REFERENCE_S: Final = 2
Codes = list[list[int]]  # of an utterance, 16 a frame


@dataclass(frozen=True, slots=True)
class Check:
    """`passed` None: not performed, and `detail` has the reason."""

    name: str
    passed: bool | None
    detail: str


def request_of(task: Task, **fields: object) -> SpeechRequest:
    """A request that a checkpoint of that task can serve."""
    time_s = np.arange(_REFERENCE_S * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    voice = sum(np.sin(2 * np.pi * 150 * n * time_s) / n for n in range(1, 8))
    variant: dict[str, object] = {
        Task.CLONE: {"ref_audio": (6000 * voice).astype("<i2").tobytes()},
        Task.VOICE_DESIGN: {"instruct": "A calm voice."},
    }.get(task, {})
    return SpeechRequest(**{"text": TEXT, "seed": 1, **variant, **fields})  # type: ignore[arg-type]


def run(
    device: TorchModelRunner, requests: Mapping[int, SpeechRequest], frames: int
) -> dict[int, tuple[Codes, Samples]]:
    """Run the utterances in these slots together: at most `frames` frames of each, decoded chunk by chunk."""
    start, running = 0, list(requests)
    for slot, request in requests.items():
        plan = device.plan(request)
        count = plan.prompt_positions + len(plan.prompt_tokens.trailing) + frames + 2
        device.begin(slot, CacheRange(start, count), request, plan)
        start += count
        while not device.prefill(slot):
            pass
    codes: dict[int, Codes] = {slot: [] for slot in requests}
    samples: dict[int, list[Samples]] = {slot: [] for slot in requests}
    undecoded = dict.fromkeys(requests, 0)

    def decode(slot: int) -> None:
        samples[slot] += device.decode([slot], undecoded[slot])
        undecoded[slot] = 0

    for _ in range(frames):
        for slot, frame, ended in zip(running, *device.step(running), strict=True):
            if ended:
                running = [other for other in running if other != slot]
                continue
            codes[slot].append(frame)
            undecoded[slot] += 1
            if undecoded[slot] == DEFAULT_RAMP[min(len(samples[slot]), len(DEFAULT_RAMP) - 1)]:
                decode(slot)
        if not running:
            break
    for slot in requests:
        if undecoded[slot]:
            decode(slot)
        device.release(slot)
    return {slot: (codes[slot], np.concatenate([*samples[slot], np.zeros(0, np.float32)])) for slot in requests}


def check_graphs(device: TorchModelRunner) -> Check:
    """Each captured shape was compared during the load."""
    name = "recorded = kernel by kernel"
    if not device.graph_count:
        return Check(name, None, "no graphs are recorded on this device")
    detail = " ".join(device.notes) or f"all {device.graph_count} shapes"
    return Check(name, not device.notes, detail)


def check_batch(device: TorchModelRunner, task: Task, frames: int) -> Check:
    """In the same shape, a row's codes do not depend on the other rows."""
    rows = min(_ROWS, device.slots)
    requests = {slot: request_of(task, seed=slot + 1, text=TEXT[: 30 + 15 * slot]) for slot in range(rows)}
    together, last = run(device, requests, frames), rows - 1
    alone = run(device, {last: requests[last]}, frames)[last]
    same = alone[0] == together[last][0]
    return Check("batch = single", same, f"{len(alone[0])} frames of row {rows} of {rows}{_difference(same)}")


def check_stream(device: TorchModelRunner, task: Task, frames: int) -> Check:
    codes, streamed = run(device, {0: request_of(task)}, frames)[0]
    whole = device.decode_whole(codes)
    furthest = float(np.abs(streamed - whole).max()) if len(whole) == len(streamed) and len(whole) else float("inf")
    return Check("streamed = whole", furthest <= TOLERANCE, f"{len(codes)} frames, at most {furthest:.1e} apart")


def check_upstream(spec: ModelSpec, checkpoint: Checkpoint, config: EngineConfig, frames: int) -> Check:
    """Greedy codes and their samples, in float32 on both sides: in lower precision, each side rounds differently."""
    name = "codes of qwen-tts"
    if importlib.util.find_spec("qwen_tts") is None:
        return Check(name, None, "qwen-tts is not installed")
    exact = replace(config, dtype="float32", weights="full", max_batch=1)
    request = request_of(spec.task, temperature=0.0, x_vector_only=True)
    device = TorchModelRunner(spec, checkpoint, Placement.from_config(exact), exact)
    codes, samples = run(device, {0: request}, frames)[0]
    device.close()
    del device
    their_codes, their_samples = _upstream(spec, checkpoint, exact, request, frames)
    count = min(len(codes), len(their_codes))
    same = next((at for at in range(count) if codes[at] != their_codes[at]), count)
    length = same * FRAME_SAMPLES
    furthest = float(np.abs(samples[:length] - their_samples[:length]).max(initial=0.0))
    detail = f"{same} of {max(len(codes), len(their_codes))} frames are equal, samples at most {furthest:.1e} apart"
    return Check(name, same == len(codes) == len(their_codes) and furthest <= TOLERANCE, detail)


def _upstream(
    spec: ModelSpec, checkpoint: Checkpoint, config: EngineConfig, request: SpeechRequest, frames: int
) -> tuple[Codes, Samples]:
    from speech_engines.qwen3_tts.reference import ReferenceSynthesizer

    upstream = ReferenceSynthesizer(spec, checkpoint, config)
    kept: list[torch.Tensor] = []
    with upstream.watched(kept.append):
        samples = upstream.compute(request, frames)
    upstream.close()
    return kept[-1][:frames].tolist(), samples


def _difference(same: bool) -> str:
    return "" if same else ", which differ"
