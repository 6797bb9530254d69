"""The bounds on speech requests in flight, each API key's share of them, and on uploads that are decoded at once."""

import logging
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Final

from openai_frontend.audio.uploads.decoding import DecoderProcess
from openai_frontend.audio.uploads.recording import ReferenceAudioError
from openai_frontend.errors import ApiError, upload_too_large
from openai_frontend.observability.logs import OncePerInterval
from openai_frontend.synthesis.fair_queue import FairQueue

logger = logging.getLogger(__name__)

# A key may hold this many times the free places (dynamic thresholds, as in Choudhury and Hahne's shared buffers): alone
# it gets three quarters of all, two greedy ones three sevenths each, and some are always free for the next one.
_SHARE: Final = 3


class Admission:
    """Lets at most `limit` requests in at once; one more is refused at once. With `shares_by_key`, so is one of an
    owner that holds more than its share. Admitted requests may have to wait for one of the `fair_queue`."""

    def __init__(
        self, limit: int, max_upload_bytes: int, fair_queue: FairQueue, *, shares_by_key: bool = False
    ) -> None:
        self._limit = limit
        self._max_upload_bytes = max_upload_bytes
        self._shares_by_key = shares_by_key
        self._held: Counter[Hashable] = Counter()
        self.pending = 0
        self.fair_queue = fair_queue
        self._decoder = DecoderProcess()
        self._warn = OncePerInterval(logger)

    @contextmanager
    def admit(self, owner: Hashable = None) -> Iterator[None]:
        """Hold one place for `owner`. Raises ApiError 503 where none is free for it."""
        if not self._has_place(owner):
            raise self._refusal(owner)
        self.pending += 1
        self._held[owner] += 1
        try:
            yield
        finally:
            self.pending -= 1
            self._held[owner] -= 1
            if not self._held[owner]:
                del self._held[owner]

    def _has_place(self, owner: Hashable) -> bool:
        free = self._limit - self.pending
        held = self._held[owner]
        if not self._shares_by_key or not held:
            return free > 0
        return free > 1 and held < _SHARE * free

    def _refusal(self, owner: Hashable) -> ApiError:
        seconds = self.retry_after_s()
        if self.pending >= self._limit:
            message = f"The server is at capacity ({self._limit} requests in flight). Retry in {seconds} s."
        else:
            held = self._held[owner]
            message = f"This API key has {held} requests in flight, its share of the server. Retry in {seconds} s."
        return ApiError(503, "server_overloaded", message, headers={"Retry-After": str(seconds)})

    def retry_after_s(self) -> int:
        """Seconds until a request that comes now would be served, by the measured service rate."""
        return self.fair_queue.retry_after_s()

    async def decode_upload(self, data: bytes, param: str = "ref_audio", owner: Hashable = None) -> bytes:
        """An uploaded recording as the PCM of a reference; `param` is the field it came in. Raises ReferenceAudioError,
        or ApiError 413 where it is too large, 503 where no place is free."""
        if len(data) > self._max_upload_bytes:
            raise upload_too_large(param, self._max_upload_bytes)
        with self.admit(owner):
            try:
                return await self._decoder.decode(data)
            except ReferenceAudioError as error:
                error.param = param
                raise
            except OSError as error:  # no file, process or memory is left to start the decoder
                self._warn("recordings cannot be decoded: %s", error)
                message = "The server cannot start the process that decodes recordings. Try again in a moment."
                retry_after = {"Retry-After": str(self.retry_after_s())}
                raise ApiError(503, "server_overloaded", message, headers=retry_after) from None

    async def aclose(self) -> None:
        await self._decoder.aclose()
