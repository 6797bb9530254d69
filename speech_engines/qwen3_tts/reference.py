"""The qwen-tts package behind the Engine protocol: one request at a time, slow; the reference for other engines."""

import contextlib
import logging
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from speech_engines.base import Capabilities, Engine, Samples
from speech_engines.qwen3_tts.checkpoint.checkpoint import Checkpoint, open_checkpoint
from speech_engines.qwen3_tts.checkpoint.rules import GREEDY_TEMPERATURE, REFERENCE_SILENCE_SAMPLES, RequestRules
from speech_engines.qwen3_tts.config import EngineConfig
from speech_engines.qwen3_tts.prompt.text import PlainText
from speech_engines.qwen3_tts.runner.gpu import device_errors
from speech_engines.qwen3_tts.runner.placement import Placement
from speech_engines.qwen3_tts.upstream import import_upstream, use_qwen2_pieces
from speech_engines.worker import CancelledError, Chunks, Summary, WorkerEngine
from speech_protocol.audio import FRAME_SAMPLES, MAX_CHUNK_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import FinishReason
from speech_protocol.models import ModelSpec, Task
from speech_protocol.request import SpeechRequest

logger = logging.getLogger(__name__)

# Greedy: the sampling values are transformers' own defaults, which it treats as "not set".
_GREEDY: Final = {
    f"{stage}{name}": value
    for stage in ("", "subtalker_")
    for name, value in {"temperature": 1.0, "top_k": 50, "top_p": 1.0}.items()
} | {"do_sample": False, "subtalker_dosample": False}


class ReferenceSynthesizer:
    """Upstream decodes an utterance at once, so its first chunk is returned at the end."""

    def __init__(self, spec: ModelSpec, checkpoint: Checkpoint, config: EngineConfig) -> None:
        self._spec = spec
        self._rules = RequestRules(spec, checkpoint)
        self.placement = Placement.from_config(config)
        self._upstream = _load(checkpoint, self.placement)
        self._tokenizer = self._upstream.processor.tokenizer
        self._plain = PlainText(self._tokenizer.get_added_vocab())
        self.capabilities = Capabilities(
            engine="qwen-tts",
            checkpoint=checkpoint.name,
            device=self.placement.describe(),
            task=spec.task,
            languages=checkpoint.languages,
            speakers=self._rules.speakers,
            max_audio_seconds=config.max_audio_seconds,
            supports_instructions=self._rules.supports_instructions,
            notes=self.placement.notes,
        )
        self._warm_up()

    def check(self, request: SpeechRequest) -> None:
        self._rules.check(request)
        if request.ref_blend is not None:
            message = "The reference engine blends no voices. Send one voice, or run the server with ENGINE=batching."
            raise SpeechError(ErrorCode.UNSUPPORTED_TASK, message, "ref_blend")

    def synthesize(self, request: SpeechRequest, is_cancelled: Callable[[], bool]) -> Chunks:
        limit_s = min(request.max_audio_seconds or math.inf, self.capabilities.max_audio_seconds)
        limit_samples = int(limit_s * SAMPLE_RATE_HZ)
        limit_frames = max(1, -(-limit_samples // FRAME_SAMPLES))
        audio = self._compute(request, limit_frames, is_cancelled)
        reached = len(audio) >= limit_frames * FRAME_SAMPLES
        for start in range(0, min(len(audio), limit_samples), MAX_CHUNK_SAMPLES):
            yield audio[start : min(start + MAX_CHUNK_SAMPLES, limit_samples)]
        return Summary(
            text_tokens=len(self._tokenizer(self._plain(request.text))["input_ids"]),
            finish_reason=FinishReason.LENGTH if reached else FinishReason.STOP,
            warnings=self._rules.warnings(request),
        )

    def compute(self, request: SpeechRequest, frames: int) -> Samples:
        """The samples of an utterance of at most `frames` frames, at once."""
        return self._compute(request, frames, lambda: False)

    @contextlib.contextmanager
    def watched(self, see: Callable[[Any], None]) -> Iterator[None]:
        """A context in which `see` is called with the codes, [T, 16], of each utterance."""
        model = self._upstream.model
        generate = model.generate

        def generate_seen(*arguments: Any, **named: Any) -> Any:
            codes, hidden = generate(*arguments, **named)
            see(codes[0])
            return codes, hidden

        model.generate = generate_seen
        try:
            yield
        finally:
            del model.generate

    def gpu_memory_bytes(self) -> int | None:
        if self.placement.device == "cpu":
            return None
        import torch

        return int(torch.cuda.memory_reserved(self.placement.device))

    def close(self) -> None:
        self._upstream = None
        self._release()

    def _compute(self, request: SpeechRequest, limit_frames: int, is_cancelled: Callable[[], bool]) -> Samples:
        """The whole utterance, at most `limit_frames` long."""
        import torch

        # A random seed of our own if none is requested: torch starts every process with the same one.
        torch.manual_seed(secrets.randbits(63) if request.seed is None else request.seed)
        try:
            with device_errors(self.placement.device), torch.inference_mode(), self._stopped_by(is_cancelled):
                waves, _ = self._generate(request, limit_frames)
        finally:
            self._release()
        audio: Samples = waves[0].astype(np.float32, copy=False)
        # Upstream cuts the reference off by a ratio of floats, and may leave its last sample.
        return audio[len(audio) % FRAME_SAMPLES :]

    def _generate(self, request: SpeechRequest, limit_frames: int) -> tuple[list[Samples], int]:
        arguments = {
            "text": self._plain(request.text),
            "language": request.language.lower(),
            # A token's frame is generated in the following step, so the last token has none.
            "max_new_tokens": limit_frames + 1,
            **_sampling(request),
        }
        instruct = self._plain(request.instruct or "")
        generated: tuple[list[Samples], int]
        match self._spec.task:
            case Task.CUSTOM_VOICE:
                speaker = self._rules.speaker(request)
                generated = self._upstream.generate_custom_voice(speaker=speaker, instruct=instruct, **arguments)
            case Task.VOICE_DESIGN:
                generated = self._upstream.generate_voice_design(instruct=instruct, **arguments)
            case Task.CLONE:
                generated = self._upstream.generate_voice_clone(**self._reference(request), **arguments)
        return generated

    def _reference(self, request: SpeechRequest) -> dict[str, Any]:
        """In-context cloning with a transcript, unless the request forbids it; else the x-vector alone."""
        samples = np.frombuffer(request.ref_audio or b"", dtype="<i2").astype(np.float32) / 32768
        ref_text = self._plain(request.ref_text or "")
        if request.x_vector_only or not ref_text:
            return {"ref_audio": (samples, SAMPLE_RATE_HZ), "x_vector_only_mode": True}
        samples = np.pad(samples, (0, REFERENCE_SILENCE_SAMPLES))
        return {"ref_audio": (samples, SAMPLE_RATE_HZ), "ref_text": ref_text}

    @contextlib.contextmanager
    def _stopped_by(self, is_cancelled: Callable[[], bool]) -> Iterator[None]:
        """Raise CancelledError inside upstream, whose loops cannot be interrupted otherwise: checked before each frame
        of the talker and each 300 frames of the codec. No state is left behind: a prefill resets the talker."""

        def ask(*_: object) -> None:
            if is_cancelled():
                raise CancelledError

        model = self._upstream.model
        modules = (model.talker, model.speech_tokenizer.model.decoder)
        hooks = [module.register_forward_pre_hook(ask) for module in modules]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _warm_up(self) -> None:
        """One frame: selects kernels and fills tables before the model is ready, not in the first request."""
        silence = bytes(SAMPLE_RATE_HZ * SAMPLE_BYTES) if self._spec.task is Task.CLONE else None
        instruct = "A calm voice." if self._spec.task is Task.VOICE_DESIGN else None
        self._compute(SpeechRequest("Ready.", ref_audio=silence, instruct=instruct), 1, lambda: False)

    def _release(self) -> None:
        """Release unused device memory, so that models on one GPU do not block each other."""
        if self.placement.device != "cpu":
            import torch

            torch.cuda.empty_cache()


def _sampling(request: SpeechRequest) -> dict[str, Any]:
    """Upstream's sampling arguments; the checkpoint's own values for unspecified ones. As in upstream, they apply to
    the talker; the code predictor keeps the checkpoint's, except for greedy, which applies to both."""
    values: dict[str, Any] = {"repetition_penalty": request.repetition_penalty}
    if request.temperature is not None and request.temperature < GREEDY_TEMPERATURE:
        return values | _GREEDY
    return values | {"temperature": request.temperature, "top_k": request.top_k, "top_p": request.top_p}


def _load(checkpoint: Checkpoint, placement: Placement) -> Any:
    """Upstream's model with its talker in the requested precision and its codec in float32: in lower precision it
    produces silence."""
    import torch

    dtype = getattr(torch, placement.dtype)
    model_class, codec_class = import_upstream()
    folder = str(checkpoint.folder)
    try:
        # Upstream passes `attn_implementation` to talker and predictor only, everything else also to the codec.
        upstream = model_class.from_pretrained(
            folder, dtype=dtype, device_map=placement.device, attn_implementation=placement.attention
        )
        use_qwen2_pieces(upstream, folder)
        if dtype != torch.float32:  # read again from the file: rounding cannot be undone
            codec_folder = f"{folder}/speech_tokenizer"
            codec = codec_class.from_pretrained(codec_folder, dtype=torch.float32, device_map=placement.device)
            upstream.model.load_speech_tokenizer(codec)
    except torch.OutOfMemoryError:
        message = f"{checkpoint.name} does not fit into the memory of {placement.device}."
        raise SpeechError(ErrorCode.OUT_OF_MEMORY, message) from None
    except Exception as error:  # a broken file fails in a different way in each format
        logger.exception("loading %s failed", checkpoint.name)
        message = f"{checkpoint.name} can't be loaded: {type(error).__name__}: {error}"
        raise SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, message) from None
    upstream.model.eval()
    # The value that `generate` would choose anyway, with a warning at every request.
    talker = upstream.model.talker
    talker.generation_config.pad_token_id = talker.config.codec_eos_token_id
    return upstream


def create_engine(spec: ModelSpec, environment: Mapping[str, str] = os.environ) -> Engine:
    """The engine of one of the Triton models of Qwen3-TTS. Raises SpeechError if its checkpoint is unavailable."""
    config = EngineConfig.from_environment(environment)
    checkpoint = open_checkpoint(spec, environment)
    synthesizer = ReferenceSynthesizer(spec, checkpoint, config)
    logger.info(
        "%s: %s from %s with %s on %s", spec.name, checkpoint.name, checkpoint.folder, config, synthesizer.placement
    )
    return WorkerEngine(synthesizer, max_queue=config.max_queue, max_active=1)
