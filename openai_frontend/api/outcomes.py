"""The outcomes of recent replies, for clients of byte streams, which cannot carry them."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from openai_frontend.errors import ApiError, from_exception
from speech_protocol.audio import FRAME_SAMPLES
from speech_protocol.events import EndEvent

KEPT_S: Final = 60.0
# Limit on stored outcomes, of finished and unfinished requests.
MAX_KEPT: Final = 4096
_SHOWN_CHARS: Final = 128


class Status(StrEnum):
    """The status of a reply: being sent, completed, failed, or disconnected by its client."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Outcome:
    """The outcome of one reply so far. `ended_s` is by the clock of its `Outcomes`."""

    status: Status = Status.IN_PROGRESS
    fields: dict[str, Any] | None = None
    ended_s: float | None = None

    def completed(self, end: EndEvent, warnings: tuple[str, ...] = ()) -> None:
        """Record the end event."""
        self.status, self.fields = Status.COMPLETED, summary(end, warnings)

    def failed(self, error: Exception) -> None:
        """Record an error."""
        self.status, self.fields = Status.FAILED, from_exception(error).body()

    def close(self, now_s: float) -> None:
        """End the reply; without an end event or an error, its client has disconnected."""
        if self.status is Status.IN_PROGRESS:
            self.status = Status.CANCELLED
        self.ended_s = now_s


class Outcomes:
    """The outcomes of replies by owner and request id, each until a minute after its end. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[Hashable, str], Outcome] = OrderedDict()

    def begin(self, owner: Hashable, request_id: str) -> Outcome:
        """Record a new reply, replacing an earlier one with the same owner and id."""
        self._kept.pop((owner, request_id), None)
        self._kept[owner, request_id] = outcome = Outcome()
        while len(self._kept) > MAX_KEPT or self._is_over(next(iter(self._kept.values()))):
            self._kept.popitem(last=False)
        return outcome

    def close(self, outcome: Outcome) -> None:
        """End a reply; its outcome is kept for a minute."""
        outcome.close(self._clock())

    def find(self, owner: Hashable, request_id: str) -> dict[str, Any]:
        """The public form of an outcome. Raises ApiError 404."""
        outcome = self._kept.get((owner, request_id))
        if outcome is None or self._is_over(outcome):
            message = f"There is no speech request '{request_id[:_SHOWN_CHARS]}' of this key. "
            message += f"Use the x-request-id of its reply, within {KEPT_S:g} s of its end."
            raise ApiError(404, "not_found", message, param="request_id")
        return {"id": request_id, "object": "audio.speech", "status": outcome.status, **(outcome.fields or {})}

    def _is_over(self, outcome: Outcome) -> bool:
        return outcome.ended_s is not None and self._clock() - outcome.ended_s > KEPT_S


def summary(end: EndEvent, warnings: tuple[str, ...]) -> dict[str, Any]:
    """OpenAI's `usage`, extended by `finish_reason` and, if there are any, warnings."""
    frames = -(-end.audio_samples // FRAME_SAMPLES)
    # Text tokens in, codec frames of 80 ms out.
    usage = {"input_tokens": end.text_tokens, "output_tokens": frames, "total_tokens": end.text_tokens + frames}
    fields = {"usage": usage, "finish_reason": str(end.finish_reason)}
    warned = list(dict.fromkeys((*warnings, *end.warnings)))
    return {**fields, "warnings": warned} if warned else fields
