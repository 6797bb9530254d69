"""Request bodies of the OpenAI API, and checks that several routes share."""

import math
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field

from openai_frontend.api.bodies.optional_fields import OptionalFields
from openai_frontend.audio.formats import FORMATS, AudioFormat, at_rate, whole
from openai_frontend.errors import invalid
from openai_frontend.settings import Settings
from speech_protocol.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from speech_protocol.languages import AUTO, LANGUAGES, parse_language
from speech_protocol.models import Task


def _well_formed(text: str) -> str:
    """A lone surrogate is valid in JSON but in no later processing step."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("should be Unicode without half of a surrogate pair") from None
    return text


def _ascii(text: str) -> str:
    # Constant time: Python stores this property with the string.
    if not text.isascii():
        raise ValueError("should be base64, a data URL or an address, which hold ASCII characters only")
    return text


MAX_NAME_CHARS: Final = 256
MAX_BLEND_CHARS: Final = 1024
MAX_INSTRUCTIONS_CHARS: Final = 4096
MAX_REF_TEXT_CHARS: Final = 4096
# The maximum of MAX_INPUT_CHARS, and the maximum length of base64 in the largest body.
MAX_INPUT_CHARS: Final = 1_000_000
MAX_REF_AUDIO_CHARS: Final = 2**28

# Checked in this order: the length first, since it costs nothing.
Text = Annotated[str, Field(max_length=MAX_INPUT_CHARS), AfterValidator(_well_formed)]
Name = Annotated[str, Field(max_length=MAX_NAME_CHARS), AfterValidator(_well_formed)]
VoiceName = Annotated[str, Field(max_length=MAX_BLEND_CHARS), AfterValidator(_well_formed)]
RefText = Annotated[str, Field(max_length=2 * MAX_REF_TEXT_CHARS), AfterValidator(_well_formed)]
Instructions = Annotated[str, Field(max_length=MAX_INSTRUCTIONS_CHARS), AfterValidator(_well_formed)]
RefAudio = Annotated[str, Field(max_length=MAX_REF_AUDIO_CHARS), AfterValidator(_ascii)]
Speed = Annotated[float, Field(ge=0.25, le=4.0)]
_SEED_LIMIT = 2**63
Seed = Annotated[int, Field(ge=-_SEED_LIMIT, lt=_SEED_LIMIT)]


_TASKS = {"CustomVoice": Task.CUSTOM_VOICE, "Base": Task.CLONE, "VoiceDesign": Task.VOICE_DESIGN}


class VoiceId(BaseModel):
    """OpenAI's object form of a voice."""

    model_config = ConfigDict(strict=True)

    id: VoiceName


class NewName(BaseModel):
    """The new name of a voice or a consent."""

    model_config = ConfigDict(strict=True, extra="ignore")

    name: Name


class SpeechBody(OptionalFields):
    """POST /v1/audio/speech. Strict about types; unknown fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", use_attribute_docstrings=True)

    input: Text
    """The text to speak."""
    model: Name | None = None
    """`tts-1`, `gpt-4o-mini-tts`, a checkpoint or a Triton model; default: the server's model."""
    voice: VoiceName | VoiceId | None = None
    """One of OpenAI's names or a speaker; default: the server's voice."""
    instructions: Annotated[Instructions | None, Field(validation_alias=AliasChoices("instructions", "instruct"))] = (
        None
    )
    """Style instructions; for a voice-design model, the description of the voice. `instruct` is the single-file
    server's name for it."""
    response_format: Name | None = None
    """mp3, opus, aac, flac, wav, pcm or ogg."""
    speed: Speed = 1.0
    """0.25 to 4; the pitch is preserved."""
    stream_format: Literal["audio", "sse"] = "audio"
    """Plain bytes, or OpenAI's server-sent events."""
    language: Name | None = None
    """Extension: one of GET /v1/audio/languages, or its two-letter code; absent or `auto`: detected."""
    seed: Seed | None = None
    """Extension: the same seed gives the same audio."""
    temperature: Annotated[float | None, Field(ge=0, le=10)] = None
    """Extension: sampling temperature, 0 for greedy; default: the checkpoint's own, as for the next three fields."""
    top_k: Annotated[int | None, Field(ge=0, le=100_000)] = None
    """Extension: sample among this many of the most likely codes; 0 for all."""
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    """Extension: sample among the most likely codes that have this probability together."""
    repetition_penalty: Annotated[float | None, Field(ge=0.1, le=10)] = None
    """Extension: penalty for repeated codes, over 1 to reduce them."""
    task_type: Literal["CustomVoice", "Base", "VoiceDesign"] | None = None
    """Extension: built-in speakers, a clone of `ref_audio`, or a voice from `instructions`; default: by model."""
    ref_audio: RefAudio | None = None
    """Extension: the recording of a voice to clone, as base64, a data URL, or a URL that the server allows."""
    ref_text: RefText | None = None
    """Extension: the transcript of `ref_audio`; the likeness is better with it."""
    x_vector_only_mode: bool | None = None
    """Extension: clone from the speaker embedding alone; the default without `ref_text`."""
    consent: Name | None = None
    """Extension: the id of the speaker's consent to `ref_audio`; required by servers with `REQUIRE_CONSENT`."""
    max_new_tokens: Annotated[int | None, Field(ge=1, le=2**31 - 1)] = None
    """Extension: maximum audio length, in frames of 80 ms at speed 1; for each segment of a long text."""
    sample_rate: int | None = None
    """Extension: 8000, 16000, 22050, 24000, 44100 or 48000 Hz, for wav, pcm and flac."""
    word_timestamps: bool | None = None
    """Extension: word timestamps in the header `X-Word-Timestamps`; the reply is then sent when complete."""
    timestamp_granularities: Annotated[list[Literal["segment", "word"]], Field(max_length=2)] | None = None
    """Extension: `segment` and `word` add events to an event stream where segments and words begin."""

    @property
    def task(self) -> Task | None:
        """The task of `task_type`, or that implied by a recording; None leaves it to the model."""
        if self.task_type is not None:
            return _TASKS[self.task_type]
        return Task.CLONE if self.ref_audio else None

    def max_audio_seconds(self, settings: Settings) -> float:
        """Maximum seconds at speed 1, from `max_new_tokens` and the server's limit."""
        frames_s = math.inf
        if self.max_new_tokens is not None:
            # Half a sample more than the frames have: rounding to the wire's 32 bits must not lose a sample.
            frames_s = (self.max_new_tokens * FRAME_SAMPLES + 0.5) / SAMPLE_RATE_HZ
        return min(settings.max_audio_seconds, frames_s)

    @property
    def wants_words(self) -> bool:
        """Whether word timestamps are requested."""
        return bool(self.word_timestamps) or "word" in (self.timestamp_granularities or ())

    def voice_name(self) -> str | None:
        """The voice as a name or an id; None for the default."""
        return self.voice.id if isinstance(self.voice, VoiceId) else self.voice


def audio_format_of(name: str | None, settings: Settings, sample_rate_hz: int | None = None) -> AudioFormat:
    """The format of a reply; no name means the server's default. Raises ApiError 400 for an unknown format, or one
    without this sample rate."""
    name = (name or settings.default_response_format).lower()
    if name not in FORMATS:
        raise invalid("response_format", f"'{name}' is not a format. Use one of: {', '.join(FORMATS)}.")
    audio_format = whole(FORMATS[name], settings.whole_wav_seconds)
    if sample_rate_hz is None:
        return audio_format
    try:
        return at_rate(audio_format, sample_rate_hz)
    except ValueError as error:
        raise invalid("sample_rate", f"sample_rate: {error}. Omit it for 24000.") from None


def check_input(text: str, settings: Settings) -> str:
    """A text to synthesize, stripped of white space. Raises ApiError 400 if it is empty or too long."""
    text = check_text("input", text, settings.max_input_chars, ", or several requests")
    if not text:
        raise invalid("input", "The input is empty. Send at least one word.", "empty_input")
    return text


def check_transcript(text: str | None) -> str | None:
    """The transcript of a recording, stripped of white space. Raises ApiError 400 if it is too long."""
    return check_text("ref_text", text or "", MAX_REF_TEXT_CHARS) or None


def check_text(field: str, text: str, limit: int, what_to_do: str = "") -> str:
    """A text, stripped of white space. Raises ApiError 400 if it has more than `limit` characters."""
    stripped = text.strip()
    if len(stripped) > limit:
        message = f"{field} has {len(stripped)} characters, the limit is {limit}. Send fewer{what_to_do}."
        raise invalid(field, message, "string_above_max_length")
    return stripped


def check_language(name: str | None) -> str:
    """The wire's name of a language; absent means `auto`. Raises ApiError 400 for an unknown one."""
    language = parse_language(name or AUTO)
    if language is None:
        known = ", ".join((AUTO, *LANGUAGES))
        raise invalid("language", f"'{name}' is not a language of this server. Use one of: {known}.")
    return language
