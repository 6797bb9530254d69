"""Names and types of the tensors of every model; a test compares them with the `config.pbtxt` files."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: name, Triton type without its `TYPE_` prefix, shape, and whether it is optional."""

    name: str
    data_type: str
    dims: tuple[int, ...] = (1,)
    optional: bool = False


# The decoupled speech models.
INPUTS: Final = (
    TensorSpec("TEXT", "STRING"),
    TensorSpec("LANGUAGE", "STRING", optional=True),
    TensorSpec("SPEAKER", "STRING", optional=True),
    TensorSpec("INSTRUCT", "STRING", optional=True),
    TensorSpec("REF_AUDIO", "STRING", optional=True),  # base64 of PCM
    TensorSpec("REF_TEXT", "STRING", optional=True),
    TensorSpec("X_VECTOR_ONLY", "BOOL", optional=True),
    TensorSpec("REF_BLEND", "STRING", optional=True),  # JSON: the recordings and weights of a blend
    TensorSpec("SEED", "INT64", optional=True),
    TensorSpec("TEMPERATURE", "FP32", optional=True),
    TensorSpec("TOP_K", "INT32", optional=True),
    TensorSpec("TOP_P", "FP32", optional=True),
    TensorSpec("REPETITION_PENALTY", "FP32", optional=True),
    TensorSpec("MAX_AUDIO_SECONDS", "FP32", optional=True),
    TensorSpec("STREAM_ID", "STRING", optional=True),
    TensorSpec("STREAM_ACTION", "STRING", optional=True),
)
OUTPUTS: Final = (
    TensorSpec("EVENT", "STRING"),
    TensorSpec("AUDIO", "STRING"),  # base64 of PCM, empty but on `audio`
)

# The façade for batch scripts: the same inputs plus the name of the model; the whole audio as one tensor.
BATCH_INPUTS: Final = (TensorSpec("MODEL", "STRING"), *INPUTS)
BATCH_OUTPUTS: Final = (
    TensorSpec("AUDIO", "INT16", dims=(-1,)),
    TensorSpec("SAMPLE_RATE", "INT32"),
    TensorSpec("STATS", "STRING"),  # the end event
)
