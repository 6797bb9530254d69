"""A text that is still being written while it is spoken. No tensors."""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

# Tokens that the model runner has ahead of the frames.
LOOK_AHEAD: Final = 32
# A row that waits longer than this for text is given up.
TEXT_TIMEOUT_S: Final = 150.0  # above the limit of LIVE_IDLE_TIMEOUT
# The longest part of a text without a space or punctuation mark.
MAX_REST_CHARS: Final = 8192


@dataclass(slots=True)
class OpenText:
    """The text of one utterance, by tokens. A frame takes one token; a row without a next one waits.

    `added` is the number of tokens, without those of the prompt, that the model runner has; `rest` is the part of the
    text that more text may still change.
    """

    added: int
    rest: str
    tokens: deque[int] = field(default_factory=deque)  # that the model runner does not have yet
    is_closed: bool = False
    waits_since_s: float | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the model runner has all tokens, and no more will come."""
        return self.is_closed and not self.tokens

    def has_token_for(self, frame: int) -> bool:
        """Whether the model runner has what it needs for that frame, counted from 0."""
        return self.is_complete or frame < self.added

    def take(self, frames: int, positions: int) -> tuple[list[int], bool]:
        """The tokens to add to a row with that many frames and cache positions, and whether they are the last."""
        count = max(0, min(len(self.tokens), frames + LOOK_AHEAD - self.added, positions - 1 - self.added))
        self.added += count
        return [self.tokens.popleft() for _ in range(count)], self.is_complete

    def record_wait(self, *, now: bool) -> None:
        """Record whether the row waits for text now."""
        if not now:
            self.waits_since_s = None
        elif self.waits_since_s is None:
            self.waits_since_s = time.monotonic()

    def timeout_s(self) -> float | None:
        """Seconds until a row that waits is given up; None for one that does not wait."""
        return None if self.waits_since_s is None else self.waits_since_s + TEXT_TIMEOUT_S - time.monotonic()
