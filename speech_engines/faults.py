"""Device errors that concern more than one request."""

from speech_protocol.errors import ErrorCode, SpeechError


class DeviceMemoryError(Exception):
    """The device has insufficient memory for this work, which has changed nothing; less work may succeed."""


class DeviceLostError(Exception):
    """The device cannot recover within this process, so the process must end and be replaced."""


def out_of_memory() -> SpeechError:
    """The error of a request that is failed to free memory for the others."""
    return SpeechError(ErrorCode.OUT_OF_MEMORY, "The GPU has no memory left for this request. Try again in a moment.")


def model_died() -> SpeechError:
    """The error of every request in flight. The frontend retries those without audio on the next process."""
    message = "The GPU failed, and the model is started again. Send the request again."
    return SpeechError(ErrorCode.MODEL_DIED, message)
