"""Triton model `qwen3_tts_custom_voice`: Qwen3-TTS with its built-in speakers."""

from functools import partial

from speech_engines.qwen3_tts.factory import create_engine
from speech_engines.triton_model import SpeechModel
from speech_protocol.models import QWEN3_TTS_CUSTOM_VOICE


class TritonPythonModel(SpeechModel):
    create_engine = partial(create_engine, QWEN3_TTS_CUSTOM_VOICE)
