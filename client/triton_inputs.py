"""Request values as `tritonclient` inputs."""

from collections.abc import Mapping

import numpy as np
from tritonclient.http import InferInput

from speech_protocol.request import Value
from speech_protocol.tensors import BATCH_INPUTS

# Triton's name of a type on the wire, and numpy's.
_TYPES: dict[str, tuple[str, type[np.generic]]] = {
    "STRING": ("BYTES", np.object_),
    "BOOL": ("BOOL", np.bool_),
    "INT32": ("INT32", np.int32),
    "INT64": ("INT64", np.int64),
    "FP32": ("FP32", np.float32),
}


def to_infer_inputs(values: Mapping[str, Value]) -> list[InferInput]:
    """An input for each value, by tensor name, for `speech_batch`. Raises KeyError for an unknown input."""
    data_types = {spec.name: spec.data_type for spec in BATCH_INPUTS}
    inputs = []
    for name, value in values.items():
        wire_type, numpy_type = _TYPES[data_types[name]]
        tensor = InferInput(name, [1], wire_type)
        tensor.set_data_from_numpy(np.array([value.encode() if isinstance(value, str) else value], dtype=numpy_type))
        inputs.append(tensor)
    return inputs
