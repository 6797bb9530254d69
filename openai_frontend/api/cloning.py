"""Reference audio of a request, shared by both speech routes."""

from collections.abc import Hashable

from openai_frontend.api.schemas import check_transcript
from openai_frontend.api.state import State
from openai_frontend.errors import invalid
from openai_frontend.voices.reference import Reference
from openai_frontend.voices.speaking import VoiceFields, reference_fields


async def recording_fields(
    state: State,
    recording: bytes,
    ref_text: str | None,
    owner: Hashable,
    x_vector_only: bool | None = None,
) -> VoiceFields:
    """The voice fields for `recording`, a complete file. Without a transcript, or with `x_vector_only`, only the
    speaker embedding is used. Raises ApiError or SpeechError if the recording or the transcript can't be used."""
    transcript = check_transcript(ref_text)
    if x_vector_only is False and transcript is None:
        message = "Without `x_vector_only_mode` the recording needs its transcript. Send it as `ref_text`."
        raise invalid("ref_text", message, "missing_required_parameter")
    pcm = await state.uploads.decode(recording, owner=owner)
    reference = await state.pools.uploads.run(Reference.from_pcm, pcm, None if x_vector_only else transcript)
    return reference_fields(reference)
