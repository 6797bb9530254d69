"""`speech_batch`: a façade that is not decoupled, so that `tritonclient.http.infer` gets a whole utterance as one
tensor.

Triton answers `/infer` on a decoupled model with 501. This model calls the decoupled one inside the server (BLS),
collects its chunks and returns them as INT16 samples. It is serial in each instance; the configuration starts eight.
"""

import base64
import logging
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from speech_protocol.audio import SAMPLE_RATE_HZ
from speech_protocol.errors import ErrorCode, SpeechError
from speech_protocol.events import AudioEvent, EndEvent, ErrorEvent, parse_event
from speech_protocol.models import SPEECH_BATCH
from speech_protocol.tensors import INPUTS, OUTPUTS

logger = logging.getLogger(__name__)

_INVALID = {
    ErrorCode.INVALID_REQUEST,
    ErrorCode.UNSPEAKABLE_TEXT,
    ErrorCode.UNKNOWN_SPEAKER,
    ErrorCode.UNSUPPORTED_LANGUAGE,
    ErrorCode.UNSUPPORTED_TASK,
    ErrorCode.INVALID_REFERENCE_AUDIO,
}
_UNAVAILABLE = {ErrorCode.QUEUE_FULL, ErrorCode.MODEL_UNAVAILABLE, ErrorCode.SHUTTING_DOWN}


class BatchModel:
    """The façade; `1/model.py` of `speech_batch` is an empty subclass."""

    _latest: object = None
    _repository: Path | None = None

    def initialize(self, args: dict[str, str]) -> None:
        """Called by Triton, with the folder of this model in the repository."""
        folder = Path(args.get("model_repository", ""))
        self._repository = folder.parent if folder.is_dir() else None

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request; a failed one carries a Triton error whose text begins with our code."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            pcm, end = self._collect(request)
        except SpeechError as error:
            return _failure(error)
        except Exception as error:
            # otherwise Triton would answer with a traceback
            logger.exception("unhandled exception")
            return _failure(
                SpeechError(ErrorCode.ENGINE_FAILURE, f"The model failed ({type(error).__name__}). Its log says why.")
            )
        return pb_utils.InferenceResponse(
            output_tensors=[
                pb_utils.Tensor("AUDIO", np.frombuffer(pcm, dtype="<i2").astype(np.int16)),
                pb_utils.Tensor("SAMPLE_RATE", np.array([SAMPLE_RATE_HZ], dtype=np.int32)),
                pb_utils.Tensor("STATS", np.array([end.to_json().encode()], dtype=np.object_)),
            ]
        )

    def _collect(self, request: Any) -> tuple[bytes, EndEvent]:
        """Run the request on the model it names; its PCM and its end event. Raises SpeechError."""
        pcm = bytearray()
        end: EndEvent | None = None
        model = _read_string(pb_utils.get_input_tensor_by_name(request, "MODEL"))
        for response in self._call(request, model):
            if response.has_error():
                raise self._from_triton(response.error().message(), model)
            event = parse_event(_read_string(pb_utils.get_output_tensor_by_name(response, "EVENT")))
            if isinstance(event, ErrorEvent):
                raise event.to_error()
            if isinstance(event, AudioEvent):
                pcm += base64.b64decode(_read_string(pb_utils.get_output_tensor_by_name(response, "AUDIO")))
            if isinstance(event, EndEvent):
                end = event
        if end is None:
            raise SpeechError(
                ErrorCode.ENGINE_FAILURE, "The model stopped before the end of the utterance. Send the request again."
            )
        return bytes(pcm), end

    def _from_triton(self, text: str, model: str) -> SpeechError:
        """A Triton error as a SpeechError. An error without an engine's code means that the named model is unavailable;
        Triton does not distinguish unloaded from unknown models."""
        if error := SpeechError.from_text(text):
            return error
        known = self._models()
        if known and model not in known:
            message = f"There is no model '{model}'. Use one of: {', '.join(known)}."
            return SpeechError(ErrorCode.MODEL_NOT_FOUND, message, "model")
        message = f"The model '{model}' is not loaded. Use Triton's repository API to load it ({text.strip()})."
        return SpeechError(ErrorCode.MODEL_UNAVAILABLE, message, "model")

    def _models(self) -> list[str]:
        """The models in the same repository; none if it can't be read."""
        try:
            folders = self._repository.iterdir() if self._repository else ()
            return sorted(each.name for each in folders if each.is_dir() and each.name != SPEECH_BATCH)
        except OSError:
            return []

    def _call(self, request: Any, model: str) -> list[Any]:
        """Every response of the model, read to the end: an abandoned iterator leaks its server side."""
        tensors = [pb_utils.get_input_tensor_by_name(request, spec.name) for spec in INPUTS]
        call = pb_utils.InferenceRequest(
            model_name=model,
            inputs=[tensor for tensor in tensors if tensor is not None],
            requested_output_names=[spec.name for spec in OUTPUTS],
            request_id=request.request_id(),
        )
        answers = call.exec(decoupled=True)
        responses = list(answers)
        # Threads of the stub release the responses without Python's lock. Releasing the last reference there crashes
        # the process on Python 3.12 at the next request, so a reference is held here.
        self._latest = (call, answers, responses)
        return [response for response in responses if _has_content(response)]


def _failure(error: SpeechError) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(error.to_text(), _triton_code(error.code)))


def _triton_code(code: ErrorCode) -> Any:
    """The Triton code, and so the HTTP status of `/infer`, for an error code."""
    # Looked up at run time: during the import of this module, `pb_utils` is incomplete.
    if code in _INVALID:
        return pb_utils.TritonError.INVALID_ARG
    if code is ErrorCode.MODEL_NOT_FOUND:
        return pb_utils.TritonError.NOT_FOUND
    return pb_utils.TritonError.UNAVAILABLE if code in _UNAVAILABLE else pb_utils.TritonError.INTERNAL


def _has_content(response: Any) -> bool:
    """False for the empty response that only has the FINAL flag."""
    return bool(response.has_error() or response.output_tensors())


def _read_string(tensor: Any) -> str:
    return str(tensor.as_numpy().reshape(-1)[0].decode())
