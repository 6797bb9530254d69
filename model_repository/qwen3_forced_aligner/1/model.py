"""Triton model `qwen3_forced_aligner`: word times of speech from models without their own."""

from speech_engines.forced_aligner.engine import create_engine
from speech_engines.triton_model import SpeechModel


class TritonPythonModel(SpeechModel):
    create_engine = staticmethod(create_engine)
