"""The bound on speech requests in the house."""

from collections.abc import Iterator
from contextlib import contextmanager

from openai_frontend.errors import ApiError


class Admission:
    """Lets at most `limit` requests in at once; one more is told at once instead of waiting unseen."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.pending = 0

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
