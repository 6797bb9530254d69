"""Uploaded recordings: size limit, admission and decoding in a subprocess."""

import logging
from collections.abc import Hashable

from openai_frontend.audio.uploads.decoding import DecoderProcess
from openai_frontend.audio.uploads.recording import ReferenceAudioError
from openai_frontend.errors import ApiError, upload_too_large
from openai_frontend.observability.logs import OncePerInterval
from openai_frontend.synthesis.admission import Admission

logger = logging.getLogger(__name__)


class UploadDecoder:
    """Decodes recordings of at most `max_bytes`; a recording being decoded counts as a request in flight."""

    def __init__(self, admission: Admission, max_bytes: int) -> None:
        self._admission, self._max_bytes = admission, max_bytes
        self._decoder = DecoderProcess()
        self._warn = OncePerInterval(logger)

    async def decode(self, data: bytes, param: str = "ref_audio", owner: Hashable = None) -> bytes:
        """The PCM of a recording as a reference (s16le, mono, 24 kHz); `param` is the field that contains it. Raises
        ReferenceAudioError, or ApiError: 413 if it is too large, 503 if the server is at capacity."""
        if len(data) > self._max_bytes:
            raise upload_too_large(param, self._max_bytes)
        with self._admission.admit(owner):
            try:
                return await self._decoder.decode(data)
            except ReferenceAudioError as error:
                error.param = param
                raise
            except OSError as error:  # no file, process or memory available to start the decoder
                self._warn("recordings cannot be decoded: %s", error)
                message = "The server cannot start the process that decodes recordings. Try again in a moment."
                retry_after = {"Retry-After": str(self._admission.retry_after_s())}
                raise ApiError(503, "server_overloaded", message, headers=retry_after) from None

    async def aclose(self) -> None:
        """Stop the subprocess."""
        await self._decoder.aclose()
