"""Entries of GET /v1/audio/voices: model and speaker of each name, and names of the same voice."""

from typing import Any, Final

from openai_frontend.errors import ApiError
from openai_frontend.models.facts import ModelFacts
from openai_frontend.voices.catalog import Catalog, Target
from openai_frontend.voices.names import SPEAKERS
from speech_protocol.errors import SpeechError
from speech_protocol.models import HIBARI, QWEN3_TTS_BASE
from speech_protocol.speakers import HIBARI_SPEAKERS, Speaker, hibari_speaker

_DESCRIBED: Final = {speaker.name: speaker for speaker in SPEAKERS}
_HIBARI_DESCRIBED: Final = {speaker.name: speaker for speaker in HIBARI_SPEAKERS}
_ABSENT: Final = (
    "This voice is not downloaded, or the model has not been loaded since the server's start. Loading the model "
    "downloads it, if there is a network."
)
_BY_INSTRUCTIONS: Final = "a voice made from `instructions`"


def built_in_voices(
    catalog: Catalog, facts: ModelFacts, model: str | None = None, owner: str | None = None
) -> list[dict[str, Any]]:
    """An entry for each public name outside the library, for requests with `model`; names that it does not support are
    omitted. If a name resolves to the same voice as an earlier name or a voice of the library, `same_as` is that name.
    Raises ApiError 404 for an unknown model."""
    by_name = catalog.is_particular(model)
    first: dict[tuple[str, str | None], str] = {}
    entries = []
    for name in catalog.voices_of(model):
        try:
            entry = _spoken(catalog.resolve(model, name, owner=owner), facts)
        except (ApiError, SpeechError) as error:
            if by_name:
                continue
            entry = {**_about(_DESCRIBED.get(catalog.speaker(name) or "")), "available": False, "reason": error.message}
        if "speaker" in entry and (same := first.setdefault((entry["model"], entry["speaker"]), name)) != name:
            entry["same_as"] = same
        entries.append({"id": name, "name": name, "object": "audio.voice", **entry})
    return entries


def is_spoken(entry: dict[str, Any]) -> bool:
    """Whether an entry resolves to a voice, whether or not its model can be loaded now."""
    return "speaker" in entry or "same_as" in entry


def of_library(facts: ModelFacts) -> dict[str, Any]:
    """The additional fields of an entry for a cloned or designed voice."""
    return {"model": QWEN3_TTS_BASE.name, **facts.public(QWEN3_TTS_BASE.name)}


def _spoken(target: Target, facts: ModelFacts) -> dict[str, Any]:
    known = {"model": target.model, **facts.public(target.model)}
    if target.voices:
        return {**known, "same_as": _voice_names(target)}
    if target.needs_instructions:
        return {**known, "speaker": None, "description": _BY_INSTRUCTIONS}
    if target.model != HIBARI.name:
        return {**known, **_about(_DESCRIBED.get(target.speaker or "")), "speaker": target.speaker}
    if (speaker := hibari_speaker(target.speaker, facts.speakers(HIBARI.name))) is None:
        about = _about(_HIBARI_DESCRIBED.get(target.speaker or ""))
        return {**known, **about, "available": False, "reason": _ABSENT}
    return {**known, **_about(_HIBARI_DESCRIBED.get(speaker)), "speaker": speaker}


def _about(speaker: Speaker | None) -> dict[str, Any]:
    if speaker is None:
        return {}
    return {"gender": speaker.gender, "language": speaker.language, "description": speaker.description}


def _voice_names(target: Target) -> str:
    """Names, not ids: the voices may belong to another key."""
    if len(target.voices) == 1:
        return target.voices[0].voice.name
    return "+".join(f"{each.voice.name}({each.weight:g})" for each in target.voices)
