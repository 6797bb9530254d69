"""A request and a recording: what both speech routes do with reference audio."""

from collections.abc import Hashable

from openai_frontend.api.schemas import SpeechForm
from openai_frontend.api.state import State
from openai_frontend.errors import invalid
from openai_frontend.voices.reference import Reference
from openai_frontend.voices.speaking import with_reference
from speech_protocol.request import SpeechRequest


async def with_recording(
    state: State,
    request: SpeechRequest,
    recording: bytes,
    ref_text: str | None,
    owner: Hashable,
    x_vector_only: bool | None = None,
) -> SpeechRequest:
    """`request` in the voice of `recording`, a whole file. Without a transcript, or with `x_vector_only`, it is the
    speaker embedding alone. Raises ApiError or SpeechError where the recording or the transcript can't be used."""
    transcript = SpeechForm.check_text("ref_text", ref_text, state.settings) or None
    if x_vector_only is False and transcript is None:
        message = "Without `x_vector_only_mode` the recording needs its transcript. Send it as `ref_text`."
        raise invalid("ref_text", message, "missing_required_parameter")
    pcm = await state.admission.decode_upload(recording, owner=owner)
    reference = await state.pools.uploads.run(Reference.of, pcm, None if x_vector_only else transcript)
    return with_reference(request, reference)
