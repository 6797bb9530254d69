"""The model runner: prefill, decode steps and codec over one set of slots."""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Codes
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from speech_engines.base import Samples
from speech_engines.qwen3_tts.batching.sequence import Plan
from speech_engines.qwen3_tts.checkpoint.checkpoint import Checkpoint
from speech_engines.qwen3_tts.checkpoint.rules import GREEDY_TEMPERATURE, RequestRules
from speech_engines.qwen3_tts.codec.decoder import Codec
from speech_engines.qwen3_tts.config import CPU_ROWS, EngineConfig
from speech_engines.qwen3_tts.model.cache_ranges import CacheRange
from speech_engines.qwen3_tts.model.frame_model import FrameModel
from speech_engines.qwen3_tts.model.sampling import Sampling
from speech_engines.qwen3_tts.prompt.builder import PromptBuilder
from speech_engines.qwen3_tts.prompt.tokenizer import TextTokenizer
from speech_engines.qwen3_tts.prompt.voice_prompts import VoiceEncoder, VoicePrompts, voice_keys
from speech_engines.qwen3_tts.runner.bucketed import BucketedCodec, BucketedFrames, BucketedPrompts
from speech_engines.qwen3_tts.runner.cuda_graph import CudaRecorder, Graphs, Recorder
from speech_engines.qwen3_tts.runner.gpu import device_errors
from speech_engines.qwen3_tts.runner.memory import MIN_POSITIONS, Needs, Size, fit, trim_heap
from speech_engines.qwen3_tts.runner.placement import Placement
from speech_engines.temporary_thread import run_in_temporary_thread
from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.models import ModelSpec, Task
from speech_protocol.request import SpeechRequest

# On a CPU, untouched positions use no memory.
_NEVER: Final = 1 << 62  # a number of frames
CPU_POSITIONS_PER_ROW: Final = 1024
# Maximum prompt positions at once: no longer than a step takes. On a CPU a step takes long, and each position adds to
# it.
PIECE_POSITIONS: Final = {"cpu": 128, "cuda": 512}
# The fixed cost of each piece, in positions: on a CPU its weights are read, on a GPU its kernels launched.
PIECE_OVERHEAD: Final = {"cpu": 70, "cuda": 400}
# The number of positions that take as long as a step.
STEP_POSITIONS: Final = {"cpu": 290, "cuda": 1024}


class TorchModelRunner:
    """All buffers are allocated here, once: nothing grows with time or with the length of an utterance. With a
    `recorder`, for graphs on a GPU, work runs in the few shapes that it captured at the load."""

    def __init__(
        self,
        spec: ModelSpec,
        checkpoint: Checkpoint,
        placement: Placement,
        config: EngineConfig,
        recorder: Recorder | None = None,
    ) -> None:
        device, dtype = torch.device(placement.device), getattr(torch, placement.dtype)
        self.load_s: dict[str, float] = {}  # by part
        self._lap_s = time.perf_counter()
        self._placement = placement
        self._piece = PIECE_POSITIONS[device.type]
        self._task = spec.task
        self._rules = RequestRules(spec, checkpoint)
        self._defaults = json.loads((checkpoint.folder / "generation_config.json").read_text(encoding="utf-8"))
        is_int8 = placement.weights == "int8"
        read_codec = partial(Codec.read, checkpoint.folder, device, exact=not is_int8)
        with ThreadPoolExecutor(1) as pool:
            # On a CPU most of a load is packing, one weight on one core, so both are loaded at once.
            codec = pool.submit(read_codec) if device.type == "cpu" else None
            self._frames = FrameModel.read(checkpoint.folder, device, dtype, int8=is_int8)
            self._lap("talker and predictor")
            self._codec = codec.result() if codec else read_codec()
        trim_heap()
        self._lap("codec")
        self._prompts = PromptBuilder(checkpoint.config, self._frames.weights, TextTokenizer(checkpoint.folder))
        self._voices = VoicePrompts(VoiceEncoder(checkpoint, placement.device, dtype, self._codec))
        if self._task is Task.CLONE and device.type == "cuda":
            self._voices.load()  # its weights, too, are there before the rest is shared out
        self._lap("tokenizer and voices")
        size = size_of(self._frames, self._codec, placement, config, clones=self._task is Task.CLONE)
        self.slots, self.cache_positions = size.rows, size.positions
        self._frames.allocate(size.rows, size.positions)
        self._codec.allocate(size.rows + 1)
        self._lap("caches")
        self._unread = [torch.empty(0)] * self.slots  # [T, H] of each slot's prompt
        self._made = [0] * self.slots  # frames
        self._extend = self._frames.extend
        self._step_frames = self._frames.step
        self._decode_chunks: Callable[[Codes[int], torch.Tensor], torch.Tensor] = self._codec.decode
        self._graphs: list[Graphs[Any]] = []
        if device.type == "cuda":
            recorder = CudaRecorder(device)
        if recorder is not None:
            self._use_graphs(recorder)
        self._warm_up()

    def _use_graphs(self, recorder: Recorder) -> None:
        frames, prompts = BucketedFrames(self._frames, recorder), BucketedPrompts(self._frames, recorder)
        chunks = BucketedCodec(self._codec, self.slots, recorder, self._frames.device)
        self._extend, self._step_frames, self._decode_chunks = prompts.extend, frames.step, chunks.decode
        self._graphs = [chunks.graphs, frames.graphs, prompts.graphs]  # the largest first

    def _lap(self, part: str) -> None:
        now_s = time.perf_counter()
        self.load_s[part], self._lap_s = round(now_s - self._lap_s, 3), now_s

    @property
    def graph_count(self) -> int:
        """The number of shapes to capture."""
        return sum(len(graphs.shapes) for graphs in self._graphs)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about graphs that are not used."""
        return tuple(sentence for graphs in self._graphs for sentence in graphs.unused)

    def plan(self, request: SpeechRequest) -> Plan:
        self._rules.check(request)
        prompt_tokens = self._prompts.write(request)
        keys = voice_keys(request) if self._task is Task.CLONE else ()
        return Plan(prompt_tokens, keys, self._rules.warnings(request))

    def is_prepared(self, request: SpeechRequest, plan: Plan) -> bool:
        return self._voices.has(plan.voice_keys)

    def prepare(self, request: SpeechRequest, plan: Plan) -> None:
        with self._errors():
            run_in_temporary_thread(lambda: self._voices.get(request, plan.voice_keys))

    @torch.inference_mode()
    def begin(self, slot: int, cache_range: CacheRange, request: SpeechRequest, plan: Plan) -> None:
        with self._errors():
            self._begin(slot, cache_range, request, plan)

    def _begin(self, slot: int, cache_range: CacheRange, request: SpeechRequest, plan: Plan) -> None:
        voice = self._voices.get(request, plan.voice_keys) if plan.voice_keys else None
        if voice is not None:
            voice.hold_for_current_stream()
        prompt = self._prompts.build(plan.prompt_tokens, voice)
        sampling = self._sampling(request)
        if plan.prompt_tokens.rest is not None:
            sampling = replace(sampling, min_frames=_NEVER)  # until its text is complete
        self._frames.begin(slot, cache_range, prompt.trailing, sampling)
        self._unread[slot] = prompt.embeds
        self._made[slot] = 0
        if voice is not None and voice.codec_state is not None:
            # The codec continues from the reference, whose own samples are dropped, exact to the frame.
            self._codec.restore(slot, voice.codec_state)
        else:
            self._codec.reset(slot)

    def more_tokens(self, rest: str, *, final: bool) -> tuple[tuple[int, ...], str]:
        return self._prompts.more(rest, final=final)

    @torch.inference_mode()
    def append(self, slot: int, tokens: Codes[int], *, final: bool) -> None:
        with self._errors():
            self._frames.append(slot, self._prompts.trailing(tokens), final=final)

    def prefill_cost(self, slot: int) -> float:
        device = self._frames.device.type
        return (min(self._piece, len(self._unread[slot])) + PIECE_OVERHEAD[device]) / STEP_POSITIONS[device]

    @torch.inference_mode()
    def prefill(self, slot: int) -> bool:
        with self._errors():
            self._extend(slot, self._unread[slot][: self._piece])
        self._unread[slot] = self._unread[slot][self._piece :]
        return not len(self._unread[slot])

    @torch.inference_mode()
    def step(self, slots: Codes[int]) -> tuple[list[list[int]], list[bool]]:
        with self._errors():
            codes, ended = self._step_frames(slots)  # [B, 16], [B]
            # The one wait for the device in a frame: its ends, and its codes for the guard, in one transfer.
            table = torch.cat((codes, ended[:, None]), 1).tolist()
        for slot, row in zip(slots, table, strict=True):
            self._made[slot] += not row[-1]
        return [row[:-1] for row in table], [bool(row[-1]) for row in table]

    @torch.inference_mode()
    def forced_logits(self, request: SpeechRequest, codes: Codes[Codes[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the request's utterance where its codes are given, [T, 16]: logits of codebook 0 [T, codes], without what
        is never spoken, and of the others [T, 15, vocab]. Takes slot 0."""
        plan = self.plan(request)
        positions = plan.prompt_positions + len(plan.prompt_tokens.trailing) + len(codes) + 1
        self.begin(0, CacheRange(0, positions), request, plan)
        while not self.prefill(0):
            pass
        table = torch.tensor(codes, device=self._frames.device)
        first, others = zip(*(self._frames.force(0, frame) for frame in table), strict=True)
        self.release(0)
        return torch.stack(first)[:, : self._frames.config.first_prompt_id], torch.stack(others)

    @torch.inference_mode()
    def decode(self, slots: Codes[int], frames: int) -> list[Samples]:
        with self._errors():
            codes = self._frames.recent_codes(slots, [self._made[slot] - frames for slot in slots], frames)
            return list(self._decode_chunks(slots, codes).cpu().numpy())  # [B, frames * 1920]

    def decode_whole(self, codes: Codes[Codes[int]]) -> Samples:
        """The samples of an utterance's codes, [T, 16], at once."""
        table = torch.tensor(codes, device=self._frames.device).view(1, -1, 16)
        samples: Samples = self._codec.decode_whole(table)[0].cpu().numpy()
        return samples

    def move(self, slot: int, cache_range: CacheRange) -> None:
        with self._errors():
            self._frames.move(slot, cache_range)

    def pause(self, slot: int) -> None:
        with self._errors():
            self._frames.pause(slot)

    def resume(self, slot: int, cache_range: CacheRange) -> None:
        with self._errors():
            self._frames.resume(slot, cache_range)

    def release(self, slot: int) -> None:
        self._frames.release(slot)
        self._unread[slot] = self._unread[slot][:0]

    def gpu_memory_bytes(self) -> int | None:
        return None if self._placement.device == "cpu" else int(torch.cuda.memory_reserved(self._placement.device))

    def free_memory(self) -> None:
        self._voices.clear()
        if self._placement.device != "cpu":
            torch.cuda.empty_cache()

    def stats(self) -> dict[str, float]:
        return {
            "tts_engine_voice_prompts_found_total": self._voices.found,
            "tts_engine_voice_prompts_made_total": self._voices.made,
            "tts_engine_unused_graphs": len(self.notes),
        }

    def close(self) -> None:
        del self._frames, self._codec, self._prompts, self._voices
        del self._extend, self._step_frames, self._decode_chunks, self._graphs, self._unread
        if self._placement.device != "cpu":
            torch.cuda.empty_cache()

    def _sampling(self, request: SpeechRequest) -> Sampling:
        return resolve_sampling(request, self._defaults)

    def _errors(self) -> AbstractContextManager[None]:
        return device_errors(self._placement.device)

    def _warm_up(self) -> None:
        """Graphs of all shapes, then one short utterance: nothing is selected, tuned or captured in a request."""
        for graphs in self._graphs:
            graphs.record_all()
        self._lap("graphs")
        silence = bytes(SAMPLE_RATE_HZ * SAMPLE_BYTES) if self._task is Task.CLONE else None
        instruct = "A calm voice." if self._task is Task.VOICE_DESIGN else None
        request = SpeechRequest("Ready.", ref_audio=silence, instruct=instruct, seed=0)
        plan = self.plan(request)
        self.begin(0, CacheRange(0, plan.prompt_positions + 1), request, plan)
        while not self.prefill(0):
            pass
        self.step([0])
        self._made[0] = 1
        self.decode([0], 1)
        self.release(0)
        self._lap("warm-up")


def size_of(frames: FrameModel, codec: Codec, placement: Placement, config: EngineConfig, *, clones: bool) -> Size:
    """Rows and positions beside these weights, which are on their device. Raises SpeechError if they do not fit."""
    needs = Needs.from_config(frames.config, frames.dtype.itemsize, codec.stream_bytes, clones=clones)
    if placement.device == "cpu":
        rows = config.max_batch or CPU_ROWS
        wanted = max(rows * CPU_POSITIONS_PER_ROW, MIN_POSITIONS)
        return Size(rows, max(1, min(wanted, int(config.cache_share * _free_host_bytes() / needs.position))))
    torch.cuda.empty_cache()  # what fusing the weights took for a while
    free = torch.cuda.mem_get_info(placement.device)[0]
    size = fit(needs, free, config.cache_share, config.max_batch)
    if size is None:
        message = (
            f"{placement.device} has {free / 2**30:.1f} GiB left after the weights, which is not enough for "
            f"{config.max_batch or 1} rows. Free some, or set a smaller MAX_BATCH or a larger CACHE_SHARE."
        )
        raise SpeechError(ErrorCode.OUT_OF_MEMORY, message)
    return size


def _free_host_bytes() -> int:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    available = next(line for line in lines if line.startswith("MemAvailable:"))
    return int(available.split()[1]) * 1024


def resolve_sampling(request: SpeechRequest, defaults: Mapping[str, Any]) -> Sampling:
    """A request's sampling, what it leaves open from the checkpoint's generation_config. As upstream, a request speaks
    of the talker; the code predictor keeps the checkpoint's settings, but for greedy, which is about both."""

    def choose(value: float | None, name: str, default: float) -> float:
        return defaults.get(name, default) if value is None else value

    temperature = choose(request.temperature, "temperature", 0.9)
    greedy = temperature < GREEDY_TEMPERATURE or not defaults.get("do_sample", True)
    return Sampling(
        temperature=temperature,
        top_k=int(choose(request.top_k, "top_k", 50)),
        top_p=choose(request.top_p, "top_p", 1.0),
        repetition_penalty=choose(request.repetition_penalty, "repetition_penalty", 1.05),
        greedy=greedy,
        predictor_temperature=defaults.get("subtalker_temperature", 0.9),
        predictor_top_k=int(defaults.get("subtalker_top_k", 50)),
        predictor_top_p=defaults.get("subtalker_top_p", 1.0),
        predictor_greedy=greedy or not defaults.get("subtalker_dosample", True),
        seed=secrets.randbits(63) if request.seed is None else request.seed,
    )
