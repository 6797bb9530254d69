"""Triton model `speech_batch`: whole utterances over `/infer`, for batch scripts."""

from speech_engines.triton_batch import BatchModel


class TritonPythonModel(BatchModel):
    pass
