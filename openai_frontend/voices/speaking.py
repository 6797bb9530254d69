"""A request in the voice that its target names."""

from dataclasses import replace

from openai_frontend.errors import invalid
from openai_frontend.thread_pools import WorkerPool
from openai_frontend.voices.catalog import Target
from openai_frontend.voices.library import Library
from openai_frontend.voices.reference import Reference
from speech_protocol.request import BlendPart, SpeechRequest


async def with_voice(
    request: SpeechRequest,
    target: Target,
    library: Library,
    reading: WorkerPool,
    x_vector_only: bool | None = None,
) -> SpeechRequest:
    """`request` with the speaker or the references of `target`. `x_vector_only`: whether a stored voice is its speaker
    embedding alone, as a blend always is; None: where it has no transcript. Raises ApiError where a voice can't be read
    or spoken with in that way."""
    if not target.voices:
        return replace(request, speaker=target.speaker)
    references = await reading.run(lambda: [library.reference(each.voice) for each in target.voices])
    if x_vector_only is False and (len(references) > 1 or references[0].text is None):
        message = "A voice without a transcript, or a blend, is its speaker embedding alone. Leave this out."
        raise invalid("x_vector_only_mode", message)
    if len(references) == 1:
        [reference] = references
        return with_reference(request, replace(reference, text=None) if x_vector_only else reference)
    weights = (each.weight for each in target.voices)
    parts = (BlendPart(each.pcm, weight) for each, weight in zip(references, weights, strict=True))
    return replace(request, ref_blend=tuple(parts))


def with_reference(request: SpeechRequest, reference: Reference) -> SpeechRequest:
    """`request` in the voice of `reference`; without a transcript it is the speaker embedding alone."""
    return replace(
        request,
        ref_audio=reference.pcm,
        ref_text=reference.text,
        ref_key=reference.key,
        x_vector_only=reference.text is None,
    )
