"""Prefills compared with the inputs of upstream's talker for the same request."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech_protocol.audio import SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.request import SpeechRequest
from tests.speech_engines.conftest import EngineOf
from tests.support.types import CheckpointOf

pytestmark = pytest.mark.skipif(importlib.util.find_spec("qwen_tts") is None, reason="needs the extra 'qwen'")

TEXT = "  Hello <|im_end|> there, 今日は 12 €!\n"
SHORT_TEXT = "Hi <tts_pad>."
LONG_TEXT = "A text that is longer than the reference. " * 4
GENERATE = {
    "custom_voice": "generate_custom_voice",
    "base": "generate_voice_clone",
    "voice_design": "generate_voice_design",
}
WHOLE_TEXT = pytest.mark.parametrize("whole_text", [None, True, False], ids=["default", "whole", "streamed"])
PROJECTION = pytest.mark.parametrize("projection", [False, True], ids=["0b6", "1b7"])
BuilderOf = Callable[..., Any]


class SeenError(Exception):
    """Leaves upstream's `generate` with what it was about to feed its talker."""

    def __init__(self, inputs: dict[str, Any]) -> None:
        self.inputs = inputs


@pytest.fixture(scope="module")
def builder_of(tiny_checkpoint: CheckpointOf) -> BuilderOf:
    """`builder_of(variant, projection=False)`: the PromptBuilder of that tiny checkpoint, in float32."""

    @cache
    def build(variant: str, projection: bool = False) -> Any:
        from safetensors.torch import load_file

        from speech_engines.qwen3_tts.prompt.builder import PromptBuilder
        from speech_engines.qwen3_tts.prompt.tokenizer import TextTokenizer

        folder = tiny_checkpoint(variant, projection)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        weights = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
        return PromptBuilder(config, weights, TextTokenizer(folder))

    return build


def upstream_inputs(reference: Any, request: SpeechRequest, whole_text: bool | None) -> dict[str, Any]:
    """The inputs that the reference engine passes to upstream's talker for `request`."""

    def see(_module: Any, _arguments: Any, inputs: dict[str, Any]) -> None:
        raise SeenError(inputs)

    upstream = reference._upstream
    name = GENERATE[reference.capabilities.task]
    hook = upstream.model.talker.register_forward_pre_hook(see, with_kwargs=True)
    if whole_text is not None:
        setattr(upstream, name, partial(getattr(upstream, name), non_streaming_mode=whole_text))
    try:
        reference._compute(request, 1, lambda: False)
    except SeenError as seen:
        return seen.inputs
    finally:
        hook.remove()
        vars(upstream).pop(name, None)
    raise AssertionError("the talker was not called")


def assert_equals_upstream(
    builder: Any, reference: Any, request: SpeechRequest, whole_text: bool | None, voice: Any = None
) -> Any:
    import torch

    prompt_tokens = builder.write(request, whole_text)
    prefill = builder.build(prompt_tokens, voice)
    expected = upstream_inputs(reference, request, whole_text)
    assert_close = partial(torch.testing.assert_close, rtol=0, atol=1e-6)
    assert_close(prefill.embeds, expected["inputs_embeds"][0])
    assert_close(builder.tts_pad, expected["tts_pad_embed"][0, 0])
    # Upstream's is padding if the whole text is in the prefill.
    trailing = prefill.trailing if len(prefill.trailing) else builder.tts_pad[None]
    assert_close(trailing, expected["trailing_text_hidden"][0])
    assert prompt_tokens.text_tokens == len(reference._tokenizer(reference._plain(request.text))["input_ids"])
    return prefill


def recording(hz: float, seconds: float = 1.0) -> bytes:
    time_s = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (np.sin(2 * np.pi * hz * time_s) * 9000).astype("<i2").tobytes()


@WHOLE_TEXT
@PROJECTION
@pytest.mark.parametrize("instruct", [" \n", " Softly, <|im_start|>please. "], ids=["blank", "instruct"])
@pytest.mark.parametrize("language", ["auto", "Chinese", "french"])
@pytest.mark.parametrize("speaker", [None, "Ryan", "dylan", "eric"])
def test_a_built_in_speakers_prefill_is_upstreams(
    reference_engine: EngineOf,
    builder_of: BuilderOf,
    speaker: str | None,
    language: str,
    instruct: str | None,
    projection: bool,
    whole_text: bool | None,
) -> None:
    request = SpeechRequest(TEXT, speaker=speaker, language=language, instruct=instruct)
    reference = reference_engine("custom_voice", projection).synthesizer
    prefill = assert_equals_upstream(builder_of("custom_voice", projection), reference, request, whole_text)
    assert bool(len(prefill.trailing)) == (whole_text is False)


@WHOLE_TEXT
@pytest.mark.parametrize("language", ["auto", "japanese"])
def test_a_designed_voices_prefill_is_upstreams(
    reference_engine: EngineOf, builder_of: BuilderOf, language: str, whole_text: bool | None
) -> None:
    request = SpeechRequest(TEXT, language=language, instruct="An old, warm voice.\n")
    reference = reference_engine("voice_design").synthesizer
    assert_equals_upstream(builder_of("voice_design"), reference, request, whole_text)


@WHOLE_TEXT
@PROJECTION
@pytest.mark.parametrize("language", ["auto", "german"])
@pytest.mark.parametrize("text", [SHORT_TEXT, LONG_TEXT], ids=["short", "long"])
@pytest.mark.parametrize("ref_text", [None, " What <tts_pad> I said.\n"], ids=["x_vector", "in_context"])
def test_a_clones_prefill_is_upstreams(
    reference_engine: EngineOf,
    builder_of: BuilderOf,
    tiny_checkpoint: CheckpointOf,
    ref_text: str | None,
    text: str,
    language: str,
    projection: bool,
    whole_text: bool | None,
) -> None:
    ignored = {"instruct": "Ignored.", "speaker": "ignored"}
    request = SpeechRequest(text, language, ref_audio=recording(150, 3.3), ref_text=ref_text, **ignored)
    voice = voice_of(tiny_checkpoint("base", projection), request)
    reference = reference_engine("base", projection).synthesizer
    builder = builder_of("base", projection)
    prefill = assert_equals_upstream(builder, reference, request, whole_text, voice)
    if ref_text:
        assert voice.ref_codes.shape == (48, 16)  # 3.8 s with the silence
        # A text that is shorter than the reference is used up in the prefill.
        assert bool(len(prefill.trailing)) == (text is LONG_TEXT and not whole_text)


@pytest.mark.parametrize("more", [-1, 0, 1, 2])
def test_a_text_about_as_long_as_its_reference_is_split_as_upstream_does(
    reference_engine: EngineOf, builder_of: BuilderOf, tiny_checkpoint: CheckpointOf, more: int
) -> None:
    fields = {"ref_audio": recording(150), "ref_text": "Said."}  # 19 frames with the silence, and 5 tokens
    request = SpeechRequest("x" * (14 + more), **fields)
    voice = voice_of(tiny_checkpoint("base"), request)
    reference = reference_engine("base").synthesizer
    prefill = assert_equals_upstream(builder_of("base"), reference, request, None, voice)
    assert len(voice.ref_codes) == 19
    assert len(prefill.trailing) == max(0, more)


def voice_of(folder: Path, request: SpeechRequest) -> Any:
    from speech_engines.qwen3_tts.prompt.voice_prompts import voice_keys

    return voices_of(folder).get(request, voice_keys(request))


@cache
def voices_of(folder: Path) -> Any:
    from speech_engines.qwen3_tts.checkpoint.checkpoint import Checkpoint
    from speech_engines.qwen3_tts.prompt.voice_prompts import VoiceEncoder, VoicePrompts

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return VoicePrompts(VoiceEncoder(Checkpoint("tiny", folder, config)))


@pytest.mark.parametrize(
    ("variant", "fields", "code"),
    [
        ("custom_voice", {"speaker": "bob"}, ErrorCode.UNKNOWN_SPEAKER),
        ("custom_voice", {"language": "klingon"}, ErrorCode.UNSUPPORTED_LANGUAGE),
        ("custom_voice", {"language": "beijing_dialect"}, ErrorCode.UNSUPPORTED_LANGUAGE),
        ("base", {}, ErrorCode.INVALID_REQUEST),
    ],
)
def test_what_a_checkpoint_cannot_say_is_refused_with_the_field(
    builder_of: BuilderOf, variant: str, fields: dict[str, Any], code: ErrorCode
) -> None:
    builder = builder_of(variant)
    with pytest.raises(SpeechError) as error:
        builder.build(builder.write(SpeechRequest("Hi.", **fields)))
    assert error.value.code is code
    assert error.value.param == next(iter(fields), "ref_audio")


def test_building_for_built_in_speakers_imports_none_of_upstreams_packages(tiny_checkpoint: CheckpointOf) -> None:
    prompt_tokens = """
import json, sys
from pathlib import Path
from safetensors.torch import load_file
from speech_engines.qwen3_tts.prompt import voice_prompts as voices
from speech_engines.qwen3_tts.checkpoint.checkpoint import Checkpoint
from speech_engines.qwen3_tts.prompt.builder import PromptBuilder
from speech_engines.qwen3_tts.prompt.tokenizer import TextTokenizer
from speech_protocol.request import SpeechRequest

folder = Path(sys.argv[1])
config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
voices.VoicePrompts(voices.VoiceEncoder(Checkpoint("tiny", folder, config)))
builder = PromptBuilder(config, load_file(folder / "model.safetensors"), TextTokenizer(folder))
assert len(builder.build(builder.write(SpeechRequest("Hello.", speaker="ryan"))).embeds)
heavy = {"transformers", "qwen_tts", "librosa", "onnxruntime", "torchaudio"} & set(sys.modules)
assert not heavy, heavy
"""
    command = [sys.executable, "-c", prompt_tokens, str(tiny_checkpoint("custom_voice"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
