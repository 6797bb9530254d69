"""Events on the EVENT output of every speech model, each a JSON object with a `type`.

A response stream is `start`, then any number of `audio`, then exactly one `end` or `error`. `start` is sent before any
compute: Triton reports a disconnect to a model only after a first response.
"""

import json
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, ClassVar, Final, Self

from speech_protocol.errors import ErrorCode, SpeechError


class FinishReason(StrEnum):
    """Why an utterance ended: the model finished, the length limit was reached, the client disconnected, or the runaway
    guard stopped it (more frames than its text can need, a repeated loop of frames, long silence or hiss)."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    BUDGET = "budget"
    REPETITION = "repetition"
    SILENCE = "silence"


# The reasons of the runaway guard.
GUARD_REASONS: Final = frozenset({FinishReason.BUDGET, FinishReason.REPETITION, FinishReason.SILENCE})


@dataclass(frozen=True, slots=True)
class _Event:
    type: ClassVar[str]

    def to_json(self) -> str:
        return json.dumps({"type": self.type, **asdict(self)}, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        # Unknown fields of a newer model are ignored by an older frontend.
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})


@dataclass(frozen=True, slots=True)
class StartEvent(_Event):
    """The request was accepted; describes what serves it. `supports_instructions`: whether `INSTRUCT` has an effect on
    this checkpoint; the frontend can report it in its reply's headers, since this event precedes any audio. `process`:
    the id of the serving process, a new one after each load. `other_requests`: the number of other requests in service,
    of any client. `languages` and `speakers`: those of this checkpoint, as far as they are on the machine. `notes`:
    sentences about degraded operation, shown by `/health`."""

    type: ClassVar[str] = "start"
    engine: str
    checkpoint: str
    device: str
    gpu_memory_bytes: int | None = None
    supports_instructions: bool = True
    process: str = ""
    other_requests: int = 0
    languages: tuple[str, ...] = ()
    speakers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for invalid fields."""
        listed = {name: tuple(values.get(name, ())) for name in ("languages", "speakers", "notes")}
        return super(StartEvent, cls).from_json({**values, **listed})


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the text, and the samples at which it starts and ends, counted from the start of its chunk."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class AudioEvent(_Event):
    """One chunk; its samples are in the AUDIO output of the same response. `words`: those that start in it, from models
    with word times."""

    type: ClassVar[str] = "audio"
    samples: int
    words: tuple[Word, ...] = ()

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for invalid fields."""
        words = tuple(Word(each["text"], each["start"], each["end"]) for each in values.get("words", ()))
        return super(AudioEvent, cls).from_json({**values, "words": words})


@dataclass(frozen=True, slots=True)
class EndEvent(_Event):
    """All audio was sent. Times are measured in the engine: queueing, first chunk, whole synthesis."""

    type: ClassVar[str] = "end"
    finish_reason: FinishReason
    audio_samples: int
    text_tokens: int
    queue_s: float
    first_chunk_s: float
    synthesis_s: float
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for invalid fields."""
        reason = FinishReason(values["finish_reason"])
        warnings = tuple(values.get("warnings", ()))
        return super(EndEvent, cls).from_json({**values, "finish_reason": reason, "warnings": warnings})


@dataclass(frozen=True, slots=True)
class ErrorEvent(_Event):
    """The request failed; nothing follows."""

    type: ClassVar[str] = "error"
    code: str
    message: str
    param: str | None = None

    @classmethod
    def from_error(cls, error: SpeechError) -> Self:
        """The event of an error."""
        return cls(str(error.code), error.message, error.param)

    def to_error(self) -> SpeechError:
        """The error of the event."""
        return SpeechError(ErrorCode.parse(self.code) or ErrorCode.ENGINE_FAILURE, self.message, self.param)


Event = StartEvent | AudioEvent | EndEvent | ErrorEvent

_EVENTS: dict[str, type[_Event]] = {event.type: event for event in (StartEvent, AudioEvent, EndEvent, ErrorEvent)}


def parse_event(text: str) -> Event:
    """Read one EVENT. Raises ValueError on anything that is not one."""
    try:
        values = json.loads(text)
        event = _EVENTS[values["type"]].from_json(values)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an event of the speech wire: {text[:200]!r}") from error
    assert isinstance(event, Event)
    return event
