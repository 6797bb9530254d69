"""The bounds on speech requests in the house, and on uploads that are decoded at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from openai_frontend.audio.decoding import DecoderProcess
from openai_frontend.audio.recording import ReferenceAudioError
from openai_frontend.errors import ApiError, upload_too_large
from openai_frontend.turns import Turns


class Admission:
    """Lets at most `limit` requests in at once; one more is told at once instead of waiting unseen. Those who are in
    may have to wait for one of the `turns`."""

    def __init__(self, limit: int, max_upload_bytes: int, turns: Turns) -> None:
        self._limit = limit
        self._max_upload_bytes = max_upload_bytes
        self.pending = 0
        self.turns = turns
        self._decoder = DecoderProcess()

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Hold one place. Raises ApiError 503 where none is free."""
        if self.pending >= self._limit:
            message = f"The server has {self._limit} requests already. Try again in a moment."
            raise ApiError(503, "server_overloaded", message, headers={"Retry-After": "2"})
        self.pending += 1
        try:
            yield
        finally:
            self.pending -= 1

    async def decode_upload(self, data: bytes, param: str = "ref_audio") -> bytes:
        """An uploaded recording as the PCM of a reference; `param` is the field it came in. Raises ReferenceAudioError,
        or ApiError 413 where it is too large, 503 where no place is free."""
        if len(data) > self._max_upload_bytes:
            raise upload_too_large(param, self._max_upload_bytes)
        with self.admit():
            try:
                return await self._decoder.decode(data)
            except ReferenceAudioError as error:
                error.param = param
                raise

    async def aclose(self) -> None:
        await self._decoder.aclose()
