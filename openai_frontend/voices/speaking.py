"""The voice of a request: the fields of SpeechRequest that select or contain it."""

from dataclasses import replace
from typing import TypedDict

from openai_frontend.errors import invalid
from openai_frontend.thread_pools import WorkerPool
from openai_frontend.voices.catalog import Target
from openai_frontend.voices.library import Library
from openai_frontend.voices.reference import Reference
from speech_protocol.request import BlendPart


class VoiceFields(TypedDict, total=False):
    """Keyword arguments of SpeechRequest."""

    speaker: str | None
    ref_audio: bytes | None
    ref_text: str | None
    x_vector_only: bool
    ref_blend: tuple[BlendPart, ...] | None


async def voice_fields(
    target: Target, library: Library, reading: WorkerPool, x_vector_only: bool | None = None
) -> VoiceFields:
    """The speaker or the references of `target`. `x_vector_only`: use only the speaker embedding of a stored voice, as
    a blend always does; None: only if it has no transcript. Raises ApiError if a voice can't be read or used in that
    way."""
    if not target.voices:
        return {"speaker": target.speaker}
    references = await reading.run(lambda: [library.reference(each.voice) for each in target.voices])
    if x_vector_only is False and (len(references) > 1 or references[0].text is None):
        message = "A blend, or a voice without a transcript, only has its speaker embedding. Omit this."
        raise invalid("x_vector_only_mode", message)
    if len(references) == 1:
        [reference] = references
        return reference_fields(replace(reference, text=None) if x_vector_only else reference)
    weights = (each.weight for each in target.voices)
    parts = (BlendPart(each.pcm, weight) for each, weight in zip(references, weights, strict=True))
    return {"ref_blend": tuple(parts)}


def reference_fields(reference: Reference) -> VoiceFields:
    """The fields for `reference`; without a transcript, only the speaker embedding is used."""
    return {
        "ref_audio": reference.pcm,
        "ref_text": reference.text,
        "x_vector_only": reference.text is None,
    }
