"""The computing half of the batching engine: prompts, frame model and codec over one set of slots."""

import json
import secrets
from collections.abc import Mapping
from collections.abc import Sequence as Codes
from typing import Any

import torch
from torch import Tensor

from speech_engines.base import Samples
from speech_engines.qwen3_tts.checkpoint import Checkpoint
from speech_engines.qwen3_tts.codec import Codec
from speech_engines.qwen3_tts.engine import Prefilled
from speech_engines.qwen3_tts.frame_model import FrameModel
from speech_engines.qwen3_tts.placement import Placement
from speech_engines.qwen3_tts.prompt import PromptBuilder
from speech_engines.qwen3_tts.rules import GREEDY_TEMPERATURE, RequestRules
from speech_engines.qwen3_tts.sampling import Sampling
from speech_engines.qwen3_tts.tokenizer import TextTokenizer
from speech_engines.qwen3_tts.voices import VoiceEncoder, VoicePrompts
from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.models import ModelSpec, Task
from speech_protocol.request import SpeechRequest


class TorchDevice:
    """All buffers are allocated here, once: nothing grows with time or with the length of an utterance."""

    def __init__(
        self, spec: ModelSpec, checkpoint: Checkpoint, placement: Placement, slots: int, positions: int, chunk: int
    ) -> None:
        device, dtype = torch.device(placement.device), getattr(torch, placement.dtype)
        self.slots = slots
        self._positions = positions
        self._placement = placement
        self._task = spec.task
        self._rules = RequestRules(spec, checkpoint)
        self._defaults = json.loads((checkpoint.folder / "generation_config.json").read_text(encoding="utf-8"))
        self._frames = FrameModel.load(checkpoint.folder, device, dtype, slots, positions)
        self._codec = Codec.load(checkpoint.folder, device, slots)
        self._prompts = PromptBuilder(checkpoint.config, self._frames.weights, TextTokenizer(checkpoint.folder))
        self._voices = VoicePrompts(VoiceEncoder(checkpoint, placement.device, dtype))
        # Frames that were made and not decoded yet, and how many each slot has.
        self._codes = torch.zeros(slots, chunk, 16, dtype=torch.int64, device=device)
        self._pending = [0] * slots
        self._warm_up()

    def check(self, request: SpeechRequest) -> tuple[str, ...]:
        self._rules.check(request)
        return self._rules.warnings(request)

    @torch.inference_mode()
    def prefill(self, slot: int, request: SpeechRequest) -> Prefilled:
        voice = self._voices.get(request) if self._task is Task.CLONE else None
        prompt = self._prompts.build(request, voice)
        room_frames = self._positions - len(prompt.embeds)
        if room_frames > len(prompt.trailing):
            self._frames.prefill(slot, prompt.embeds, prompt.trailing, self._sampling(request))
        else:
            room_frames = 0
        self._pending[slot] = 0
        self._codec.reset(slot)
        if prompt.ref_codes is not None:
            # The codec goes on from the reference; what it says of it is dropped, exactly by frames.
            self._codec.decode([slot], prompt.ref_codes[None])
        return Prefilled(prompt.text_tokens, room_frames)

    @torch.inference_mode()
    def step(self, slots: Codes[int]) -> tuple[list[list[int]], list[bool]]:
        codes, ended = self._frames.step(slots)  # [B, 16], [B]
        rows = torch.tensor(slots, device=codes.device)
        places = torch.tensor([self._pending[slot] for slot in slots], device=codes.device)
        self._codes[rows, places] = codes
        # The one wait for the device in a frame: its ends, and its codes for the guard, in one transfer.
        table = torch.cat((codes, ended[:, None]), 1).tolist()
        for slot, row in zip(slots, table, strict=True):
            self._pending[slot] += not row[-1]
        return [row[:-1] for row in table], [bool(row[-1]) for row in table]

    @torch.inference_mode()
    def decode(self, slots: Codes[int], frames: int) -> list[Samples]:
        samples = self._codec.decode(slots, self._pending_codes(slots, frames)).cpu().numpy()  # [B, frames * 1920]
        for slot in slots:
            self._pending[slot] = 0
        return list(samples)

    def release(self, slot: int) -> None:
        self._frames.release(slot)

    def gpu_memory_bytes(self) -> int | None:
        return None if self._placement.device == "cpu" else int(torch.cuda.memory_reserved(self._placement.device))

    def close(self) -> None:
        del self._frames, self._codec, self._prompts, self._voices, self._codes
        if self._placement.device != "cpu":
            torch.cuda.empty_cache()

    def _pending_codes(self, slots: Codes[int], frames: int) -> Tensor:
        return self._codes[torch.tensor(slots, device=self._codes.device), :frames]

    def _sampling(self, request: SpeechRequest) -> Sampling:
        return resolve_sampling(request, self._defaults)

    def _warm_up(self) -> None:
        """One short utterance: kernels are chosen before the model is ready, and not in somebody's request."""
        silence = bytes(SAMPLE_RATE_HZ * SAMPLE_BYTES) if self._task is Task.CLONE else None
        instruct = "A calm voice." if self._task is Task.VOICE_DESIGN else None
        self.prefill(0, SpeechRequest("Ready.", ref_audio=silence, instruct=instruct, seed=0))
        self.step([0])
        self._pending[0] = 1
        self.decode([0], 1)
        self.release(0)


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
