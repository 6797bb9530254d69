"""The voice library: cloned and designed voices, and their speakers' consents, on disk."""

import logging
import time
import wave
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

from openai_frontend.audio.encoders import wav_bytes
from openai_frontend.errors import ApiError, invalid
from openai_frontend.settings import Settings
from openai_frontend.voices.failures import consent_not_found, voice_damaged, voice_not_found
from openai_frontend.voices.names import fold
from openai_frontend.voices.records import Consent, Voice, VoiceType
from openai_frontend.voices.reference import Reference, from_wav
from openai_frontend.voices.store import Store

logger = logging.getLogger(__name__)

_REFERENCE: Final = "reference.wav"
_TRANSCRIPT: Final = "transcript.txt"
_RECORDING: Final = "recording"

R = TypeVar("R", Voice, Consent)


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a new voice: its metadata without name and recording."""

    type: VoiceType
    owner: str | None = None
    consent: str | None = None
    language: str | None = None
    prompt: str | None = None


class Library:
    """Voices and consents below one folder, shared by any number of processes. Its methods use the disk, and read the
    whole folder after a change: call them in a thread. All raise ApiError.

    `owner` is the key of the request: entries of other keys do not exist for it. With `shared`, all entries are visible
    to every key.
    """

    def __init__(
        self, folder: Path, max_voices: int, max_bytes: int, require_consent: bool = False, shared: bool = False
    ) -> None:
        """Limits: on the number of voices, on that of consents, and on the bytes of both together."""
        lock = folder / ".lock"
        self._max_voices = max_voices
        self._max_bytes = max_bytes
        self._require_consent = require_consent
        self._shared = shared
        self._voices = Store(folder / "voices", "voice_", lock, Voice.from_metadata)
        self._consents = Store(folder / "consents", "cons_", lock, Consent.from_metadata)
        self._index: tuple[Mapping[str, Voice], Mapping[str, list[Voice]]] = ({}, {})

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The library of the settings."""
        bounds = settings.max_voices, settings.max_voices_bytes
        shared = settings.voices_shared or not settings.keys()
        return cls(Path(settings.voices_folder), *bounds, require_consent=settings.require_consent, shared=shared)

    # Voices

    def voices(self, owner: str | None = None) -> list[Voice]:
        """Every voice of `owner`, newest first."""
        return _newest_first(self._of(owner, self._voices.entries()))

    def names(self) -> list[str]:
        """The names of all voices, each once, newest first."""
        return list({fold(voice.name): voice.name for voice in _newest_first(self._voices.entries())}.values())

    def _indexed(self) -> tuple[Mapping[str, Voice], Mapping[str, list[Voice]]]:
        """Voices by id, and by folded name; voices of different owners may share a name."""
        voices = self._voices.entries()
        if self._index[0] is not voices:
            by_name: dict[str, list[Voice]] = {}
            for voice in voices.values():
                by_name.setdefault(fold(voice.name), []).append(voice)
            self._index = voices, by_name
        return self._index

    def find(self, id_or_name: str, owner: str | None = None) -> Voice | None:
        """A voice of `owner` by its id, or by its name as normalised by `fold`."""
        return self._found(id_or_name, owner, lambda voice: self._is_of(owner, voice))

    def find_any(self, id_or_name: str) -> Voice | None:
        """The same among the voices of all keys, for names configured by the operator."""
        return self._found(id_or_name, None, lambda _: True)

    def _found(self, id_or_name: str, owner: str | None, is_seen: Callable[[Voice], bool]) -> Voice | None:
        """Of several voices with one name, that of `owner`, else the oldest."""
        voices, by_name = self._indexed()
        if (voice := voices.get(id_or_name)) and is_seen(voice):
            return voice
        named = filter(is_seen, by_name.get(fold(id_or_name), ()))
        return min(named, key=lambda voice: (voice.owner != owner, voice.created_ns, voice.id), default=None)

    def voice(self, voice_id: str, owner: str | None = None) -> Voice:
        """A voice of `owner` by its id. Raises ApiError 404."""
        voice = self._voices.entries().get(voice_id)
        if voice is None or not self._is_of(owner, voice):
            raise voice_not_found(voice_id)
        return voice

    def check_capacity(self, name: str, owner: str | None = None, size_bytes: int = 0) -> None:
        """Raise ApiError 400 if `owner` can't add a voice of this name and size."""
        self._check_name(name, owner)
        self._check_bounds(len(self._voices.entries()), "voices", size_bytes)

    def _check_name(self, name: str, owner: str | None, voice_id: str | None = None) -> None:
        """Raise ApiError 400 for a name that another voice of `owner` than `voice_id` has."""
        others = (voice for voice in self._indexed()[1].get(fold(name), ()) if voice.id != voice_id)
        if any(self._is_of(owner, voice) for voice in others):
            message = f"There is a voice '{name}' already. Choose another name, or delete that voice first."
            raise invalid("name", message, "voice_name_taken")

    def add_voice(self, name: str, reference: Reference, origin: Origin) -> Voice:
        """Store a voice. Raises ApiError, and stores nothing, if its name is taken or the library is full."""
        voice = Voice(
            id=self._voices.new_id(),
            name=name,
            created_ns=time.time_ns(),
            type=origin.type,
            ref_key=reference.key,
            has_transcript=reference.text is not None,
            owner=origin.owner,
            consent=origin.consent,
            language=origin.language,
            prompt=origin.prompt,
        )
        files = {_REFERENCE: wav_bytes(reference.pcm)}
        if reference.text is not None:
            files[_TRANSCRIPT] = reference.text.encode()
        size_bytes = sum(map(len, files.values()))
        check = partial(self.check_capacity, name, origin.owner, size_bytes)
        check()
        added = self._voices.add(voice.id, voice.to_metadata(), files, check)
        logger.info("kept the voice %s (%s, %d bytes)", added.id, added.type, size_bytes)
        return added

    def rename_voice(self, voice_id: str, name: str, owner: str | None = None) -> Voice:
        """Raises ApiError 404 if `owner` has no such voice, 400 if another one of its voices has the name."""
        self.voice(voice_id, owner)
        voice = self._voices.update(voice_id, {"name": name}, lambda: self._check_name(name, owner, voice_id))
        if voice is None:
            raise voice_not_found(voice_id)
        return voice

    def remove_voice(self, voice_id: str, owner: str | None = None) -> None:
        """Raises ApiError 404 if `owner` has no such voice."""
        self.voice(voice_id, owner)
        if not self._voices.remove(voice_id):
            raise voice_not_found(voice_id)
        logger.info("removed the voice %s", voice_id)

    def reference(self, voice: Voice) -> Reference:
        """The reference recording of `voice`. Raises ApiError if it has just been removed, or its files are damaged."""
        try:
            reference = Reference.from_pcm(
                from_wav(self._voices.read(voice.id, _REFERENCE)),
                self._voices.read(voice.id, _TRANSCRIPT).decode() if voice.has_transcript else None,
            )
        except (OSError, EOFError, ValueError, wave.Error) as error:
            if voice.id not in self._voices.entries():
                raise invalid(
                    "voice", f"The voice '{voice.name}' was just deleted. Choose another one.", "unknown_speaker"
                ) from None
            logger.error("the voice %s cannot be read: %s: %s", voice.id, type(error).__name__, error)
            raise voice_damaged(voice.id) from None
        if reference.key != voice.ref_key:
            logger.error("the recording of the voice %s is not the one that was stored", voice.id)
            raise voice_damaged(voice.id)
        return reference

    # Consents

    def consents(self, owner: str | None = None) -> list[Consent]:
        """Every consent of `owner`, newest first."""
        return _newest_first(self._of(owner, self._consents.entries()))

    def consent(self, consent_id: str, owner: str | None = None) -> Consent:
        """A consent of `owner` by its id. Raises ApiError 404."""
        consent = self._consents.entries().get(consent_id)
        if consent is None or not self._is_of(owner, consent):
            raise consent_not_found(consent_id)
        return consent

    def check_consent(self, consent_id: str | None, owner: str | None = None) -> None:
        """Raise ApiError 400 for an unknown consent of `owner`, and for a missing one if the server requires it."""
        consent = self._consents.entries().get(consent_id or "")
        if consent_id and (consent is None or not self._is_of(owner, consent)):
            message = f"There is no voice consent '{consent_id}'. GET /v1/audio/voice_consents lists all."
            raise invalid("consent", message, "consent_not_found")
        if self._require_consent and not consent_id:
            message = (
                "This server clones a voice only with its speaker's consent. Record it, send it to "
                "/v1/audio/voice_consents, and send its id as `consent`."
            )
            raise invalid("consent", message, "missing_required_parameter")

    def add_consent(
        self, name: str, language: str, recording: bytes, content_type: str, owner: str | None = None
    ) -> Consent:
        """Store a consent with its unchanged recording, since it is evidence."""
        consent = Consent(
            id=self._consents.new_id(),
            name=name,
            created_ns=time.time_ns(),
            language=language,
            content_type=content_type,
            owner=owner,
        )

        def check() -> None:
            self._check_bounds(len(self._consents.entries()), "voice consents", len(recording))

        check()
        return self._consents.add(consent.id, consent.to_metadata(), {_RECORDING: recording}, check)

    def rename_consent(self, consent_id: str, name: str, owner: str | None = None) -> Consent:
        """Raises ApiError 404 if `owner` has no such consent."""
        self.consent(consent_id, owner)
        consent = self._consents.update(consent_id, {"name": name})
        if consent is None:
            raise consent_not_found(consent_id)
        return consent

    def remove_consent(self, consent_id: str, owner: str | None = None) -> None:
        """Raises ApiError 404 if `owner` has no such consent."""
        self.consent(consent_id, owner)
        if not self._consents.remove(consent_id):
            raise consent_not_found(consent_id)

    def _of(self, owner: str | None, records: Mapping[str, R]) -> Mapping[str, R]:
        if self._shared:
            return records
        return {key: record for key, record in records.items() if record.belongs_to(owner)}

    def _is_of(self, owner: str | None, record: Voice | Consent) -> bool:
        return self._shared or record.belongs_to(owner)

    def _check_bounds(self, count: int, what: str, size_bytes: int) -> None:
        if count >= self._max_voices:
            message = (
                f"The limit of {self._max_voices} {what} is reached. Delete one, or raise MAX_VOICES on the server."
            )
            raise ApiError(400, "voice_limit_reached", message)
        if self._voices.size_bytes() + self._consents.size_bytes() + size_bytes > self._max_bytes:
            message = (
                f"The limit of {self._max_bytes} bytes of voices and consents is reached. "
                "Delete some, or raise MAX_VOICES_BYTES on the server."
            )
            raise ApiError(400, "voice_limit_reached", message)


def _newest_first(records: Mapping[str, R]) -> list[R]:
    return sorted(records.values(), key=lambda record: (record.created_ns, record.id), reverse=True)
