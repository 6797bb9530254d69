"""Triton model `hibari`: the embedded English voice."""

from speech_engines.hibari import create_engine
from speech_engines.triton_model import SpeechModel


class TritonPythonModel(SpeechModel):
    create_engine = staticmethod(create_engine)
