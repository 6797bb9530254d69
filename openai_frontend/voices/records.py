"""Metadata of the voices and consents in the library."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Final, Self

from openai_frontend.errors import invalid
from openai_frontend.voices.names import fold

MAX_NAME_CHARS: Final = 64
# Characters of the syntax of blends, and names that look like an id.
_AMBIGUOUS: Final = re.compile(r"\+|\(\s*[\d.]+\s*\)$|^voice_[0-9a-f]{32}$")


class VoiceType(StrEnum):
    """How a voice was created, in OpenAI's terms."""

    AUDIO_SAMPLE = "audio_sample"
    PROMPT = "prompt"


@dataclass(frozen=True, slots=True)
class _Record:
    """An entry with an identity; `created_ns` is since the epoch, `owner` the start of its key's SHA-256."""

    id: str
    name: str
    created_ns: int
    owner: str | None = field(default=None, kw_only=True)

    @property
    def created_at(self) -> int:
        """Seconds since the epoch, as in OpenAI's API."""
        return self.created_ns // 10**9

    def belongs_to(self, owner: str | None) -> bool:
        """Whether it belongs to the key `owner`; an entry created without a key belongs to all."""
        return self.owner is None or self.owner == owner

    def to_metadata(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "id"}

    @classmethod
    def from_metadata(cls, record_id: str, values: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for invalid metadata."""
        known = {each.name: values[each.name] for each in fields(cls) if each.name in values}
        if not isinstance(known["name"], str) or not isinstance(known["created_ns"], int):
            raise TypeError("name or time is of a wrong type")
        return cls(**{**known, "id": record_id})


@dataclass(frozen=True, slots=True)
class Voice(_Record):
    """A cloned or designed voice. `ref_key` is the SHA-256 of its reference PCM; `prompt` made a designed voice."""

    type: VoiceType
    ref_key: str
    has_transcript: bool
    consent: str | None = None
    language: str | None = None
    prompt: str | None = None

    @classmethod
    def from_metadata(cls, record_id: str, values: Mapping[str, Any]) -> Self:
        return super(Voice, cls).from_metadata(record_id, {**values, "type": VoiceType(values["type"])})


@dataclass(frozen=True, slots=True)
class Consent(_Record):
    """A recording in which a speaker permits the use of their voice. `language` is a BCP 47 tag."""

    language: str
    content_type: str


def check_name(name: str) -> str:
    """A label, stripped of white space. Raises ApiError 400."""
    name = name.strip()
    if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable():
        raise invalid("name", f"A name has 1 to {MAX_NAME_CHARS} printable characters.")
    return name


def check_voice_name(name: str) -> str:
    """The same for a voice, whose name is also used in speech requests. Raises ApiError 400."""
    name = check_name(name)
    if _AMBIGUOUS.search(fold(name)):
        message = "The name may not hold '+', end in a number in brackets, or look like an id. Choose another one."
        raise invalid("name", message)
    return name
