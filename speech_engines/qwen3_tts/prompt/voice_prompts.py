"""Reference audio to a voice prompt, cached by content within a memory limit."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor

from speech_engines.base import Samples
from speech_engines.qwen3_tts.checkpoint.checkpoint import Checkpoint
from speech_engines.qwen3_tts.checkpoint.files import CODEC_FOLDER
from speech_engines.qwen3_tts.checkpoint.rules import MIN_REFERENCE_SAMPLES, REFERENCE_SILENCE_SAMPLES
from speech_engines.qwen3_tts.codec.decoder import Codec
from speech_engines.qwen3_tts.codec.state import StreamState
from speech_engines.qwen3_tts.model.weights import read_tensors
from speech_engines.qwen3_tts.upstream import import_upstream
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.models import QWEN3_TTS_BASE, Task
from speech_protocol.request import SpeechRequest

# About thirty voices that are cloned in context, each with its codec state of about 5 MB, or thousands of others.
CACHE_BYTES: Final = 160 * 2**20
# The spectrogram with which the speaker encoder was trained.
_MELS: Final = {
    "n_fft": 1024, "num_mels": 128, "sampling_rate": SAMPLE_RATE_HZ, "hop_size": 256, "win_size": 1024, "fmin": 0,
    "fmax": 12_000,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class VoicePrompt:
    """A voice to clone. With a transcript the recording itself is continued (in context); without, only the x-vector is
    used, and there are no codes."""

    x_vector: Tensor  # [H] talker width
    ref_codes: Tensor | None = None  # [R, 16] int64
    codec_state: StreamState | None = None  # the codec state after the recording

    def hold_for_current_stream(self) -> None:
        """Keep the memory alive for later reads of this thread's stream; then the encoder's stream can reuse it."""
        state = () if self.codec_state is None else (self.codec_state.histories, self.codec_state.ring)
        for tensor in (self.x_vector, self.ref_codes, *state):
            if tensor is not None and tensor.is_cuda:
                tensor.record_stream(torch.cuda.current_stream(tensor.device))

    @property
    def size_bytes(self) -> int:
        """The size of the prompt in bytes."""
        codes = 0 if self.ref_codes is None else self.ref_codes.nbytes
        state = 0 if self.codec_state is None else self.codec_state.size_bytes
        return self.x_vector.nbytes + codes + state


class Encoder(Protocol):
    """Makes voice prompts, one at a time."""

    def load(self) -> None:
        """Prepare for `encode`. Idempotent."""

    def encode(self, samples: Samples, ref_text: str | None) -> VoicePrompt:
        """The prompt of a recording, [S] samples at 24 kHz, with its transcript if any."""


class VoiceEncoder:
    """The speaker encoder and the codec's encoder, both upstream's modules; nothing else of the codec is read. They are
    imported and loaded by `load` or the first `encode`, and only from a checkpoint that can clone."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        codec: Codec | None = None,
    ) -> None:
        """`dtype` is the speaker encoder's, upstream's is the talker's; the codec's encoder always runs in float32.
        With the output `codec`, prompts include its state after the recording."""
        self._checkpoint = checkpoint
        self._codec = codec
        self._device = device
        self._dtype = dtype
        self._modules: tuple[Any, Any, Any] | None = None
        # A separate stream, so that the batch's kernels do not wait for a recording's.
        self._stream = torch.cuda.Stream(device) if torch.device(device).type == "cuda" else None

    def load(self) -> None:
        if self._checkpoint.config["tts_model_type"] != Task.CLONE:
            message = f"{self._checkpoint.name} cannot clone. Send ref_audio to {QWEN3_TTS_BASE.name}."
            raise SpeechError(ErrorCode.UNSUPPORTED_TASK, message, "ref_audio")
        if self._modules is None:
            import_upstream()  # first, as only it suppresses the package's output
            from qwen_tts.core.models.modeling_qwen3_tts import mel_spectrogram

            self._modules = mel_spectrogram, self._load_speaker_encoder(), self._load_codec_encoder()

    @torch.no_grad()
    def encode(self, samples: Samples, ref_text: str | None) -> VoicePrompt:
        """The prompt of a recording, [S] samples, complete when this returns. For an in-context clone, the x-vector's
        input includes the added silence."""
        self.load()
        if self._stream is None:
            return self._encode(samples, ref_text)
        with torch.cuda.stream(self._stream):
            prompt = self._encode(samples, ref_text)
        self._stream.synchronize()
        return prompt

    def _encode(self, samples: Samples, ref_text: str | None) -> VoicePrompt:
        assert self._modules is not None
        if ref_text:
            samples = np.pad(samples, (0, REFERENCE_SILENCE_SAMPLES))
        wave = torch.from_numpy(samples)[None]  # [1, S]
        mel_spectrogram, speaker_encoder, codec_encoder = self._modules
        mels = mel_spectrogram(wave, **_MELS).transpose(1, 2)  # [1, M, 128]
        x_vector = speaker_encoder(mels.to(self._device, self._dtype))[0].clone()
        if not ref_text:
            return VoicePrompt(x_vector)
        quantizers = self._checkpoint.config["talker_config"]["num_code_groups"]
        codes = codec_encoder.encode(wave[None].to(self._device), num_quantizers=quantizers).audio_codes  # [1, 16, R]
        ref_codes = codes[0, :, : _frames_of(len(samples))].T.contiguous()
        state = None if self._codec is None else self._codec.state_after(ref_codes)
        return VoicePrompt(x_vector, ref_codes, state)

    def _load_speaker_encoder(self) -> Any:
        from qwen_tts.core.models.configuration_qwen3_tts import Qwen3TTSSpeakerEncoderConfig
        from qwen_tts.core.models.modeling_qwen3_tts import Qwen3TTSSpeakerEncoder

        module = Qwen3TTSSpeakerEncoder(
            Qwen3TTSSpeakerEncoderConfig(**self._checkpoint.config["speaker_encoder_config"])
        )
        return self._fill(module, self._checkpoint.folder, "speaker_encoder.", self._dtype)

    def _load_codec_encoder(self) -> Any:
        from qwen_tts.core import Qwen3TTSTokenizerV2Config
        from qwen_tts.core.tokenizer_12hz.modeling_qwen3_tts_tokenizer_v2 import Qwen3TTSTokenizerV2Encoder
        from transformers.modeling_utils import no_init_weights

        config = Qwen3TTSTokenizerV2Config.from_pretrained(str(self._checkpoint.folder / "speech_tokenizer"))
        with no_init_weights():
            module = Qwen3TTSTokenizerV2Encoder._from_config(config.encoder_config)
        return self._fill(module, self._checkpoint.folder / CODEC_FOLDER, "encoder.", torch.float32)

    def _fill(self, module: Any, folder: Path, prefix: str, dtype: torch.dtype) -> Any:
        """Load into `module` the weights in `folder` whose names begin with `prefix`."""
        read = read_tensors(folder, prefix, torch.device("cpu"))
        weights = {name.removeprefix(prefix): tensor for name, tensor in read}
        try:
            module.load_state_dict(weights)
        except RuntimeError as error:
            message = f"{self._checkpoint.name} can't be loaded: {error}"
            raise SpeechError(ErrorCode.CHECKPOINT_UNAVAILABLE, message) from None
        return module.to(self._device, dtype).eval()


class VoicePrompts:
    """Voice prompts by content, least recently used dropped first. Any thread may call: a cached prompt is returned
    immediately, others are computed one at a time, each once."""

    def __init__(self, encoder: Encoder, capacity_bytes: int = CACHE_BYTES) -> None:
        self._encoder = encoder
        self._capacity_bytes = capacity_bytes
        self._kept: OrderedDict[bytes, VoicePrompt] = OrderedDict()
        self._size_bytes = 0
        self.found = self.made = 0  # requests with a cached voice, and recordings computed
        self._keeping = threading.Lock()
        self._encoding = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """The size of the cache in bytes."""
        return self._size_bytes

    def clear(self) -> None:
        """Drop all prompts."""
        with self._keeping:
            self._kept.clear()
            self._size_bytes = 0

    def load(self) -> None:
        """Load the encoder, which takes seconds, before the first request."""
        with self._encoding:
            self._encoder.load()

    def has(self, keys: Sequence[bytes]) -> bool:
        """Whether `get` would return immediately."""
        found = all(self._find(key) is not None for key in keys)
        self.found += bool(keys) and found
        return found

    def get(self, request: SpeechRequest, keys: Sequence[bytes]) -> VoicePrompt:
        """The voice of the request's recording, or the blend of its voices; `keys` are its `voice_keys`. Raises
        SpeechError."""
        prompts = [self._of(key, *said) for key, said in zip(keys, _recordings(request), strict=True)]
        if request.ref_blend is None:
            return prompts[0]
        total = sum(part.weight for part in request.ref_blend)
        weights = [part.weight / total for part in request.ref_blend]
        x_vectors = [prompt.x_vector * weight for prompt, weight in zip(prompts, weights, strict=True)]
        return VoicePrompt(torch.stack(x_vectors).sum(0))

    def _of(self, key: bytes, pcm: bytes, ref_text: str | None) -> VoicePrompt:
        if (kept := self._find(key)) is not None:
            return kept
        with self._encoding:
            if (kept := self._find(key)) is not None:  # computed while this thread waited
                return kept
            prompt = self._encoder.encode(np.frombuffer(pcm, "<i2").astype(np.float32) / 32768, ref_text)
            self._keep(key, prompt)
            self.made += 1
            return prompt

    def _find(self, key: bytes) -> VoicePrompt | None:
        with self._keeping:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: bytes, prompt: VoicePrompt) -> None:
        with self._keeping:
            self._kept[key] = prompt
            self._size_bytes += prompt.size_bytes
            while self._size_bytes > self._capacity_bytes:
                self._size_bytes -= self._kept.popitem(last=False)[1].size_bytes


def voice_keys(request: SpeechRequest) -> tuple[bytes, ...]:
    """A key for each recording to clone. Hashing a minute of audio takes milliseconds: once for each request, and not
    between two steps of a batch. Raises SpeechError without a recording."""
    return tuple(_key(*said) for said in _recordings(request))


def transcript_of(request: SpeechRequest) -> str | None:
    """The transcript of a recording to continue (in context); None if only its x-vector is used."""
    ref_text = (request.ref_text or "").strip()
    return ref_text if ref_text and not request.x_vector_only else None


def frames_of_reference(request: SpeechRequest) -> int:
    """Frames of the recording and the silence after it, for an in-context clone."""
    return _frames_of(len(request.ref_audio or b"") // SAMPLE_BYTES + REFERENCE_SILENCE_SAMPLES)


def _frames_of(samples: int) -> int:
    return -(-samples // FRAME_SAMPLES)


def _recordings(request: SpeechRequest) -> list[tuple[bytes, str | None]]:
    """Like `_reference`, for all voices of a blend."""
    if request.ref_blend is None:
        return [_reference(request)]
    return [(part.audio, None) for part in request.ref_blend]


def _reference(request: SpeechRequest) -> tuple[bytes, str | None]:
    """The recording and, for an in-context clone, its transcript."""
    if request.ref_audio is None:
        message = "There is no voice to clone. Send ref_audio, the recording of one."
        raise SpeechError(ErrorCode.INVALID_REQUEST, message, "ref_audio")
    if len(request.ref_audio) < MIN_REFERENCE_SAMPLES * SAMPLE_BYTES:
        message = f"ref_audio is shorter than {MIN_REFERENCE_SAMPLES / SAMPLE_RATE_HZ} s. Send some seconds of speech."
        raise SpeechError(ErrorCode.INVALID_REFERENCE_AUDIO, message, "ref_audio")
    return request.ref_audio, transcript_of(request)


def _key(pcm: bytes, ref_text: str | None) -> bytes:
    """A hash of everything that the prompt depends on."""
    mode = b"x_vector:" if ref_text is None else b"in_context:%b:" % hashlib.sha256(ref_text.encode()).digest()
    return hashlib.sha256(mode + pcm).digest()
