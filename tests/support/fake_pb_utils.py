"""A strict stand-in for `triton_python_backend_utils`: it raises where the real one hangs."""

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1


class TritonModelException(Exception):  # noqa: N818 - Triton's name
    pass


@dataclass
class Tensor:
    name: str
    array: np.ndarray

    def as_numpy(self) -> np.ndarray:
        return self.array


@dataclass
class InferenceResponse:
    output_tensors: list[Tensor]


@dataclass
class ResponseSender:
    """Records responses. A send after FINAL is an error of the model; `broken` is a server that is gone."""

    cancelled: bool = False
    broken: bool = False
    responses: list[InferenceResponse] = field(default_factory=list)
    finals: int = 0
    finished: threading.Event = field(default_factory=threading.Event)

    def send(self, response: InferenceResponse | None = None, flags: int = 0) -> None:
        if self.finals:
            raise AssertionError("sent after FINAL")
        if flags & TRITONSERVER_RESPONSE_COMPLETE_FINAL:
            self.finals += 1
            self.finished.set()
        if self.broken:
            raise TritonModelException("the request is gone")
        if response is not None:
            self.responses.append(response)

    def is_cancelled(self) -> bool:
        return self.cancelled


@dataclass
class InferenceRequest:
    """A request with the given tensor values and its sender."""

    values: dict[str, Any]
    id: str = "r1"
    sender: ResponseSender = field(default_factory=ResponseSender)

    def parameters(self) -> str:
        return ""

    def request_id(self) -> str:
        return self.id

    def get_response_sender(self) -> ResponseSender:
        return self.sender


def get_input_tensor_by_name(request: InferenceRequest, name: str) -> Tensor | None:
    if name not in request.values:
        return None
    value = request.values[name]
    raw = value.encode() if isinstance(value, str) else value
    return Tensor(name, np.array([raw], dtype=np.object_ if isinstance(raw, bytes) else None))
