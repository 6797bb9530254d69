"""Triton model `qwen3_tts_voice_design`: Qwen3-TTS that makes a voice from a description."""

from functools import partial

from speech_engines.qwen3_tts.factory import create_engine
from speech_engines.triton_model import SpeechModel
from speech_protocol.models import QWEN3_TTS_VOICE_DESIGN


class TritonPythonModel(SpeechModel):
    create_engine = partial(create_engine, QWEN3_TTS_VOICE_DESIGN)
