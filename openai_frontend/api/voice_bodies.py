"""Bodies of POST /v1/audio/voices, which OpenAI's clients send as multipart forms or, without a file, as JSON."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, InstanceOf, ValidationError
from starlette.datastructures import UploadFile

from openai_frontend.api.bodies.media_types import FORMS, check_json, media_type
from openai_frontend.api.bodies.optional_fields import OptionalFields
from openai_frontend.api.schemas import Instructions, Name, RefText, Seed, Text
from openai_frontend.errors import invalid
from openai_frontend.thread_pools import WorkerPool, read_upload
from openai_frontend.voices.records import VoiceType
from speech_protocol.languages import AUTO, LANGUAGES, parse_language

MAX_SCRIPT_CHARS: Final = 200

B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded recording."""

    data: bytes


class _Body(OptionalFields):
    model_config = ConfigDict(strict=True, extra="ignore", use_attribute_docstrings=True)

    name: Name
    """A label, which can also be used as `voice` in speech requests."""
    language: Name | None = None
    """Extension: the language of the recording, or of the sample to synthesize."""

    def language_name(self) -> str | None:
        """The wire's name of the language; None if unspecified. Raises ApiError 400."""
        language = parse_language(self.language or AUTO)
        if language is None:
            known = ", ".join((AUTO, *LANGUAGES))
            raise invalid("language", f"'{self.language}' is not a language of this server. Use one of: {known}.")
        return None if language == AUTO else language


class SampleVoice(_Body):
    """A voice from a recording."""

    type: Literal["audio_sample"] = "audio_sample"
    audio_sample: InstanceOf[Upload] = Field(json_schema_extra={"type": "string", "format": "binary"})
    """A recording of one person speaking, 1 to 60 s: mp3, wav, ogg, aac, flac, webm or mp4."""
    consent: Name | None = None
    """The id of the speaker's consent; the server may require it."""
    ref_text: RefText | None = None
    """Extension: the exact transcript of the recording; it improves the likeness."""


class PromptVoice(_Body):
    """A voice from a description."""

    type: Literal["prompt"]
    prompt: Annotated[Instructions, Field(pattern=r"\S")]
    """Description of the voice."""
    script_hint: Annotated[Text | None, Field(max_length=MAX_SCRIPT_CHARS)] = None
    """Text of the sample from which the voice is stored; default: a sentence in its language."""
    seed: Seed | None = None
    """Extension: the same seed gives the same voice, and that of a speech request with this `prompt` as instructions,
    this `script_hint` as input, and this seed."""


# For the API documentation: the body is read explicitly.
VOICE_BODY_DOCS: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"oneOf": [SampleVoice.model_json_schema(), PromptVoice.model_json_schema()]}
            },
            "application/json": {"schema": PromptVoice.model_json_schema()},
        },
    }
}


async def read_voice(request: Request, uploads: WorkerPool) -> SampleVoice | PromptVoice:
    """The checked body of a new voice; its file is copied in a thread of `uploads`. Raises ApiError or
    RequestValidationError."""
    fields = await _read_fields(request, uploads)
    kind = fields.get("type") or VoiceType.AUDIO_SAMPLE
    if kind not in tuple(VoiceType):
        raise invalid("type", f"type must be one of: {', '.join(VoiceType)}.")
    return _validate(PromptVoice, fields) if kind == VoiceType.PROMPT else _validate(SampleVoice, fields)


async def _read_fields(request: Request, uploads: WorkerPool) -> dict[str, Any]:
    if media_type(request) in FORMS:
        async with request.form() as form:
            return {
                name: Upload(await read_upload(uploads, value)) if isinstance(value, UploadFile) else value
                for name, value in form.items()
            }
    await check_json(request)
    fields = await request.json()
    if not isinstance(fields, dict):
        raise RequestValidationError([{"type": "dict_type", "loc": ("body",), "msg": "Input should be an object"}])
    return fields


def _validate(model: type[B], fields: dict[str, Any]) -> B:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None
