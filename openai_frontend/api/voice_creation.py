"""Creation of voices, from a recording or from a description."""

from contextlib import aclosing
from typing import Final

from openai_frontend.api.schemas import check_transcript
from openai_frontend.api.state import State
from openai_frontend.api.voice_bodies import PromptVoice, SampleVoice
from openai_frontend.audio.formats import FORMATS
from openai_frontend.errors import ApiError
from openai_frontend.synthesis.language import detect_language
from openai_frontend.voices.library import Origin
from openai_frontend.voices.records import VoiceType
from openai_frontend.voices.reference import Reference
from openai_frontend.voices.samples import DEFAULT_LANGUAGE, SAMPLES
from speech_protocol.events import EndEvent, FinishReason
from speech_protocol.languages import AUTO
from speech_protocol.models import Task
from speech_protocol.request import SpeechRequest

# The longest possible reference; even a slow speaker needs less for MAX_SCRIPT_CHARS of Chinese.
SAMPLE_LIMIT_S: Final = 60.0


async def clone(body: SampleVoice, state: State, owner: str | None) -> tuple[Reference, Origin]:
    """A voice from a recording. Raises ApiError or SpeechError if it can't be used."""
    language = body.language_name()
    transcript = check_transcript(body.ref_text)
    await state.pools.reading.run(state.library.check_consent, body.consent, owner)
    pcm = await state.uploads.decode(body.audio_sample.data, "audio_sample", owner)
    origin = Origin(VoiceType.AUDIO_SAMPLE, owner, body.consent, language)
    return await state.pools.uploads.run(Reference.from_pcm, pcm, transcript), origin


async def design(body: PromptVoice, state: State, request_id: str, owner: str | None) -> tuple[Reference, Origin]:
    """A voice from a description: a sample is synthesized once, and the voice is cloned from it from then on. Raises
    ApiError or SpeechError."""
    script = (body.script_hint or "").strip()
    language = body.language_name()
    if language is None:  # the first Latin text loads the detector
        language = await state.pools.text.run(detect_language, script or body.prompt)
    request = SpeechRequest(
        text=script or SAMPLES.get(language, SAMPLES[DEFAULT_LANGUAGE]),
        language=language if script or language in SAMPLES else DEFAULT_LANGUAGE,
        instruct=body.prompt,
        seed=body.seed,
        max_audio_seconds=SAMPLE_LIMIT_S,
        request_id=request_id,
    )
    model = (await state.resolve(None, None, Task.VOICE_DESIGN)).model
    reference = await _speak_sample(state, model, request, owner)
    spoken = None if request.language == AUTO else request.language
    return reference, Origin(VoiceType.PROMPT, owner, language=spoken, prompt=body.prompt)


async def _speak_sample(state: State, model: str, request: SpeechRequest, owner: str | None) -> Reference:
    """`request`, synthesized in one utterance, as a reference recording: processed like any other."""
    recording = bytearray()
    end: EndEvent | None = None
    body = await state.synthesis.open(model, request, FORMATS["wav"], speed=1.0, whole=True, owner=owner)
    async with aclosing(body):
        async for piece in body:
            recording += piece.data
            end = piece.end or end
    assert end is not None
    if end.finish_reason is not FinishReason.STOP:
        # The sample then does not match its text, so clones would be faulty. This is random: a retry may succeed.
        message = "The sample did not finish. Retry, or change the description."
        raise ApiError(503, "voice_design_failed", message, param="prompt", headers={"Retry-After": "1"})
    pcm = await state.uploads.decode(bytes(recording), "prompt", owner)
    return await state.pools.uploads.run(Reference.from_pcm, pcm, request.text)
