"""The qwen-tts package behind the Engine protocol: one request at a time, slow, and what other engines are held to."""

import contextlib
import importlib.util
import io
import logging
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from speech_engines.base import Capabilities, Engine, Samples
from speech_engines.qwen3_tts.checkpoint import Checkpoint, open_checkpoint
from speech_engines.qwen3_tts.config import AUTO, EngineConfig, refused
from speech_engines.qwen3_tts.text import PlainText
from speech_engines.worker import CancelledError, Chunks, Summary, WorkerEngine
from speech_protocol.audio import FRAME_SAMPLES, MAX_CHUNK_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import FinishReason
from speech_protocol.languages import AUTO as AUTO_LANGUAGE
from speech_protocol.models import QWEN3_TTS_BASE, QWEN3_TTS_CUSTOM_VOICE, QWEN3_TTS_VOICE_DESIGN, ModelSpec, Task
from speech_protocol.request import SpeechRequest

logger = logging.getLogger(__name__)

DEFAULT_SPEAKER: Final = "vivian"
# Without it, the last sound of the reference leaks into the start of the utterance.
REFERENCE_SILENCE_SAMPLES: Final = SAMPLE_RATE_HZ // 2
MIN_REFERENCE_SAMPLES: Final = SAMPLE_RATE_HZ // 2
# Below this a division of the logits by the temperature overflows, and the choice is the greedy one anyway.
GREEDY_TEMPERATURE: Final = 1e-3
# Greedy: the sampling values are transformers' own defaults, which it takes for "not set".
_GREEDY: Final = {
    f"{stage}{name}": value
    for stage in ("", "subtalker_")
    for name, value in {"temperature": 1.0, "top_k": 50, "top_p": 1.0}.items()
} | {"do_sample": False, "subtalker_dosample": False}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how the weights lie, once `auto` is resolved."""

    device: str
    dtype: str
    attention: str

    @classmethod
    def of(cls, config: EngineConfig) -> "Placement":
        import torch

        has_cuda = torch.cuda.is_available()
        device = config.device if config.device != AUTO else "cuda" if has_cuda else "cpu"
        if device != "cpu" and not has_cuda:
            raise refused("DEVICE", device, "cpu on a machine without CUDA")
        dtype = config.dtype if config.dtype != AUTO else "float32" if device == "cpu" else "bfloat16"
        flash = device != "cpu" and dtype != "float32" and importlib.util.find_spec("flash_attn") is not None
        if config.attention == "flash_attention_2" and not flash:
            raise refused("ATTENTION", config.attention, "sdpa or eager without CUDA, half precision and flash-attn")
        attention = config.attention if config.attention != AUTO else "flash_attention_2" if flash else "sdpa"
        return cls(device, dtype, attention)


class ReferenceSynthesizer:
    """Upstream decodes an utterance at once, so its first chunk comes when all of it is done."""

    def __init__(self, spec: ModelSpec, checkpoint: Checkpoint, config: EngineConfig) -> None:
        self._spec = spec
        self._checkpoint = checkpoint
        self.placement = Placement.of(config)
        self._upstream = _load(checkpoint, self.placement)
        self._tokenizer = self._upstream.processor.tokenizer
        self._plain = PlainText(self._tokenizer.get_added_vocab())
        self.capabilities = Capabilities(
            engine="qwen-tts",
            checkpoint=checkpoint.name,
            device=_describe(self.placement.device),
            task=spec.task,
            languages=checkpoint.languages,
            speakers=checkpoint.speakers if spec.task is Task.CUSTOM_VOICE else (),
            max_audio_seconds=config.max_audio_seconds,
        )
        self._warm_up()

    def check(self, request: SpeechRequest) -> None:
        if request.language.lower() not in (AUTO_LANGUAGE, *self.capabilities.languages):
            known = ", ".join((AUTO_LANGUAGE, *self.capabilities.languages))
            message = f"{self._spec.name} does not speak '{request.language}'. Use one of: {known}."
            raise SpeechError(ErrorCode.UNSUPPORTED_LANGUAGE, message, "language")
        if self._spec.task is Task.CLONE:
            self._check_reference(request)
        elif request.ref_audio is not None:
            voices = "built-in speakers" if self._spec.task is Task.CUSTOM_VOICE else "voices from a description"
            message = f"{self._spec.name} has {voices} and cannot clone. Send ref_audio to {QWEN3_TTS_BASE.name}."
            raise SpeechError(ErrorCode.UNSUPPORTED_TASK, message, "ref_audio")
        if self._spec.task is Task.CUSTOM_VOICE and self._speaker(request) not in self.capabilities.speakers:
            known = ", ".join(self.capabilities.speakers)
            message = f"'{request.speaker}' is not a speaker of {self._checkpoint.name}. Use one of: {known}."
            raise SpeechError(ErrorCode.UNKNOWN_SPEAKER, message, "speaker")
        if self._spec.task is Task.VOICE_DESIGN and not (request.instruct or "").strip():
            message = f"{self._spec.name} makes a voice from a description. Send one as instruct."
            raise SpeechError(ErrorCode.INVALID_REQUEST, message, "instruct")

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
            warnings=self._warnings(request),
        )

    def gpu_memory_bytes(self) -> int | None:
        if self.placement.device == "cpu":
            return None
        import torch

        return int(torch.cuda.memory_reserved(self.placement.device))

    def close(self) -> None:
        self._upstream = None
        self._release()

    def _check_reference(self, request: SpeechRequest) -> None:
        if request.ref_audio is None:
            message = (
                f"{self._spec.name} has no voice of its own. Send ref_audio, the recording of a voice, or use "
                f"{QWEN3_TTS_CUSTOM_VOICE.name} (built-in speakers) or {QWEN3_TTS_VOICE_DESIGN.name} (a description)."
            )
            raise SpeechError(ErrorCode.INVALID_REQUEST, message, "ref_audio")
        if len(request.ref_audio) < MIN_REFERENCE_SAMPLES * SAMPLE_BYTES:
            message = (
                f"ref_audio is shorter than {MIN_REFERENCE_SAMPLES / SAMPLE_RATE_HZ} s. Send some seconds of speech."
            )
            raise SpeechError(ErrorCode.INVALID_REFERENCE_AUDIO, message, "ref_audio")

    def _speaker(self, request: SpeechRequest) -> str:
        default = DEFAULT_SPEAKER if DEFAULT_SPEAKER in self.capabilities.speakers else self.capabilities.speakers[0]
        return (request.speaker or default).lower()

    def _warnings(self, request: SpeechRequest) -> tuple[str, ...]:
        warnings = []
        if request.instruct and self._spec.task is Task.CLONE:
            warnings.append("instruct is ignored: a cloned voice takes no instructions")
        if request.instruct and self._spec.task is Task.CUSTOM_VOICE and not self._checkpoint.obeys_instruct:
            warnings.append("instruct is ignored: the 0.6B checkpoint takes no instructions, the 1.7B one does")
        if request.speaker and self._spec.task is not Task.CUSTOM_VOICE:
            warnings.append(f"speaker is ignored: {self._spec.name} has no built-in speakers")
        return tuple(warnings)

    def _compute(self, request: SpeechRequest, limit_frames: int, is_cancelled: Callable[[], bool]) -> Samples:
        """The whole utterance, at most `limit_frames` long."""
        import torch

        # A seed of our own also where none is asked for: torch starts every process from the same one.
        torch.manual_seed(secrets.randbits(63) if request.seed is None else request.seed)
        try:
            with torch.inference_mode(), self._stopped_by(is_cancelled):
                waves, _ = self._generate(request, limit_frames)
        except torch.OutOfMemoryError:
            message = "The GPU has no memory left for this request. Send a shorter text, or try again later."
            raise SpeechError(ErrorCode.OUT_OF_MEMORY, message) from None
        finally:
            self._release()
        audio: Samples = waves[0].astype(np.float32, copy=False)
        # Upstream cuts the reference off by a ratio of floats, and may leave its last sample.
        return audio[len(audio) % FRAME_SAMPLES :]

    def _generate(self, request: SpeechRequest, limit_frames: int) -> tuple[list[np.ndarray], int]:
        arguments = {
            "text": self._plain(request.text),
            "language": request.language.lower(),
            # A token's frame is made in the step after it, so the last token has none.
            "max_new_tokens": limit_frames + 1,
            **_sampling(request),
        }
        instruct = self._plain(request.instruct or "")
        match self._spec.task:
            case Task.CUSTOM_VOICE:
                speaker = self._speaker(request)
                return self._upstream.generate_custom_voice(speaker=speaker, instruct=instruct, **arguments)
            case Task.VOICE_DESIGN:
                return self._upstream.generate_voice_design(instruct=instruct, **arguments)
            case Task.CLONE:
                return self._upstream.generate_voice_clone(**self._reference(request), **arguments)

    def _reference(self, request: SpeechRequest) -> dict[str, Any]:
        """In-context cloning where there is a transcript, unless the request forbids it; else the x-vector alone."""
        samples = np.frombuffer(request.ref_audio or b"", dtype="<i2").astype(np.float32) / 32768
        ref_text = self._plain(request.ref_text or "")
        if request.x_vector_only or not ref_text:
            return {"ref_audio": (samples, SAMPLE_RATE_HZ), "x_vector_only_mode": True}
        samples = np.pad(samples, (0, REFERENCE_SILENCE_SAMPLES))
        return {"ref_audio": (samples, SAMPLE_RATE_HZ), "ref_text": ref_text}

    @contextlib.contextmanager
    def _stopped_by(self, is_cancelled: Callable[[], bool]) -> Iterator[None]:
        """Raise CancelledError inside upstream, whose loops have no other way out. It is asked before each frame of the
        talker and each 300 frames of the codec. Nothing is left behind: a prefill resets what the talker keeps."""

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
        """One frame: kernels are chosen, and tables filled, before the model is ready and not in somebody's request."""
        silence = bytes(SAMPLE_RATE_HZ * SAMPLE_BYTES) if self._spec.task is Task.CLONE else None
        instruct = "A calm voice." if self._spec.task is Task.VOICE_DESIGN else None
        self._compute(SpeechRequest("Ready.", ref_audio=silence, instruct=instruct), 1, lambda: False)

    def _release(self) -> None:
        """Give unused device memory back, so that models on one GPU do not hold it from each other."""
        if self.placement.device != "cpu":
            import torch

            torch.cuda.empty_cache()


def _describe(device: str) -> str:
    """The device for people: of a GPU also its name."""
    if device == "cpu":
        return device
    import torch

    return f"{device} {torch.cuda.get_device_name(device)}"


def _sampling(request: SpeechRequest) -> dict[str, Any]:
    """Upstream's sampling arguments; what the request leaves open is the checkpoint's own. As upstream, they are about
    the talker; the code predictor keeps the checkpoint's, but for greedy, which is about both."""
    values: dict[str, Any] = {"repetition_penalty": request.repetition_penalty}
    if request.temperature is not None and request.temperature < GREEDY_TEMPERATURE:
        return values | _GREEDY
    return values | {"temperature": request.temperature, "top_k": request.top_k, "top_p": request.top_p}


def _load(checkpoint: Checkpoint, placement: Placement) -> Any:
    """Upstream's model with its talker in the wanted precision and its codec in float32: in less it falls silent."""
    import torch

    dtype = getattr(torch, placement.dtype)
    model_class, codec_class = _import_upstream()
    folder = str(checkpoint.folder)
    try:
        # Upstream hands `attn_implementation` to talker and predictor only, all else to the codec too.
        upstream = model_class.from_pretrained(
            folder, dtype=dtype, device_map=placement.device, attn_implementation=placement.attention
        )
        if dtype != torch.float32:  # from the file again: what was rounded stays rounded
            codec_folder = f"{folder}/speech_tokenizer"
            codec = codec_class.from_pretrained(codec_folder, dtype=torch.float32, device_map=placement.device)
            upstream.model.load_speech_tokenizer(codec)
    except torch.OutOfMemoryError:
        message = f"{checkpoint.name} does not fit into the memory of {placement.device}."
        raise SpeechError(ErrorCode.OUT_OF_MEMORY, message) from None
    except Exception as error:  # a broken file fails in as many ways as there are formats
        logger.exception("loading %s failed", checkpoint.name)
        message = f"{checkpoint.name} can't be loaded: {type(error).__name__}: {error}"
        raise SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, message) from None
    upstream.model.eval()
    # What `generate` would choose anyway, with a warning at every request.
    talker = upstream.model.talker
    talker.generation_config.pad_token_id = talker.config.codec_eos_token_id
    return upstream


def _import_upstream() -> tuple[Any, Any]:
    """Import qwen-tts without its notes on SoX and flash-attn: both are about its other, 25 Hz codec."""
    sox = logging.getLogger("sox")
    sox.disabled = True
    with contextlib.redirect_stdout(io.StringIO()):
        from qwen_tts import Qwen3TTSModel, Qwen3TTSTokenizer
    return Qwen3TTSModel, Qwen3TTSTokenizer


def create_engine(spec: ModelSpec, environment: Mapping[str, str] = os.environ) -> Engine:
    """The engine of one of the Triton models of Qwen3-TTS. Raises SpeechError where its checkpoint can't be had."""
    config = EngineConfig.from_environment(environment)
    checkpoint = open_checkpoint(spec, environment)
    synthesizer = ReferenceSynthesizer(spec, checkpoint, config)
    logger.info(
        "%s: %s from %s with %s on %s", spec.name, checkpoint.name, checkpoint.folder, config, synthesizer.placement
    )
    return WorkerEngine(synthesizer, max_queue=config.max_queue, max_active=1)
