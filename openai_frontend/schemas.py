"""Bodies of the OpenAI API, and their translation into a request on the wire."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field

from openai_frontend.audio.formats import FORMATS, AudioFormat
from openai_frontend.errors import invalid
from openai_frontend.settings import Settings
from openai_frontend.text.language import parse_language
from speech_protocol.languages import AUTO, LANGUAGES
from speech_protocol.request import SpeechRequest


def _well_formed(text: str) -> str:
    """Half of a surrogate pair is valid in JSON and in nothing that comes after it."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("the text holds half of a surrogate pair")
    return text


Text = Annotated[str, AfterValidator(_well_formed)]
Speed = Annotated[float, Field(ge=0.25, le=4.0)]
MAX_INSTRUCTIONS_CHARS = 4096
MAX_REF_TEXT_CHARS = 4096
_SEED_LIMIT = 2**63
Seed = Annotated[int, Field(ge=-_SEED_LIMIT, lt=_SEED_LIMIT)]


class VoiceId(BaseModel):
    model_config = ConfigDict(strict=True)

    id: Text


class SpeechBody(BaseModel):
    """POST /v1/audio/speech. Strict about types; fields that clients invent are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", use_attribute_docstrings=True)

    input: Text
    """The text to speak."""
    model: Text | None = None
    """`tts-1`, `gpt-4o-mini-tts`, a checkpoint or a Triton model; none means the server's own."""
    voice: Text | VoiceId | None = None
    """One of OpenAI's names or a speaker; none means the server's own."""
    instructions: Annotated[
        Text | None,
        Field(max_length=MAX_INSTRUCTIONS_CHARS, validation_alias=AliasChoices("instructions", "instruct")),
    ] = None
    """How to speak; for a voice-design model, the voice itself. `instruct` is the single-file server's name for it."""
    response_format: Text | None = None
    """mp3, opus, aac, flac, wav, pcm or ogg."""
    speed: Speed = 1.0
    """0.25 to 4; the pitch stays."""
    stream_format: Literal["audio", "sse"] = "audio"
    """Plain bytes, or OpenAI's server-sent events."""
    language: Text | None = None
    """Extension: one of GET /v1/audio/languages, or its two-letter code; none or `auto`: by the text."""
    seed: Seed | None = None
    """Extension: the same seed gives the same audio."""

    def voice_name(self) -> str | None:
        return self.voice.id if isinstance(self.voice, VoiceId) else self.voice


@dataclass(frozen=True, slots=True)
class SpeechForm:
    """What the clone route's form and the speech route's JSON have in common, before it is checked."""

    text: str
    language: str | None
    response_format: str | None
    seed: int | None = None

    def audio_format(self, settings: Settings) -> AudioFormat:
        """Raises ApiError 400 for a format that does not exist."""
        name = (self.response_format or settings.default_response_format).lower()
        if name not in FORMATS:
            raise invalid("response_format", f"'{name}' is not a format. Use one of: {', '.join(FORMATS)}.")
        return FORMATS[name]

    def to_request(self, settings: Settings, request_id: str) -> SpeechRequest:
        """The part of the request that both routes share. Raises ApiError 400."""
        text = self.check_text("input", self.text, settings)
        if not text:
            raise invalid("input", "The input is empty. Send at least one word.", "empty_input")
        return SpeechRequest(
            text=text,
            language=self._language(),
            seed=self.seed,
            max_audio_seconds=settings.max_audio_seconds,
            request_id=request_id,
        )

    @staticmethod
    def check_text(field: str, text: str | None, settings: Settings) -> str:
        """A text without the space around it. Raises ApiError 400 where it is too long."""
        stripped = (text or "").strip()
        limit = settings.max_input_chars if field == "input" else MAX_REF_TEXT_CHARS
        if len(stripped) > limit:
            message = f"{field} has {len(stripped)} characters, the limit is {limit}. Send it in parts."
            raise invalid(field, message, "string_above_max_length")
        return stripped

    def _language(self) -> str:
        language = parse_language(self.language or AUTO)
        if language is None:
            known = ", ".join((AUTO, *LANGUAGES))
            raise invalid("language", f"'{self.language}' is not a language of this server. Use one of: {known}.")
        return language
