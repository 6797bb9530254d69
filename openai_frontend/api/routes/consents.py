"""/v1/audio/voice_consents: recordings in which speakers permit the use of their voices."""

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, File, Form, Query, UploadFile

from openai_frontend.api.auth import Owner
from openai_frontend.api.bodies.media_types import JSON_ONLY
from openai_frontend.api.bodies.route import BodyRoute
from openai_frontend.api.schemas import Name, NewName
from openai_frontend.api.state import CurrentState
from openai_frontend.errors import invalid
from openai_frontend.thread_pools import read_upload
from openai_frontend.voices.records import Consent, check_name

router = APIRouter(route_class=BodyRoute)

_LANGUAGE_TAG: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,4}")
_MAX_TYPE_CHARS: Final = 100


@router.post("/audio/voice_consents")
async def create_consent(
    state: CurrentState,
    owner: Owner,
    name: Annotated[Name, Form()],
    language: Annotated[Name, Form(description="A BCP 47 tag, like en-US.")],
    recording: Annotated[UploadFile, File()],
) -> dict[str, Any]:
    """Store a consent; its recording is stored unchanged."""
    name = check_name(name)
    if not _LANGUAGE_TAG.fullmatch(language):
        raise invalid("language", f"'{language}' is not a BCP 47 language tag. Send one like en-US.")
    data = await read_upload(state.pools.uploads, recording)
    await state.uploads.decode(data, "recording", owner)
    content_type = (recording.content_type or "application/octet-stream")[:_MAX_TYPE_CHARS]
    added = await state.pools.storing.run(state.library.add_consent, name, language, data, content_type, owner)
    return _public(added)


@router.get("/audio/voice_consents")
async def list_consents(
    state: CurrentState, owner: Owner, after: Name | None = None, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> dict[str, Any]:
    """A page of consents, newest first, after the id `after`."""
    consents = await state.pools.reading.run(state.library.consents, owner)
    start = 0
    if after:
        ids = [consent.id for consent in consents]
        if after not in ids:
            raise invalid("after", f"There is no voice consent '{after}'. Send the `last_id` of the page before.")
        start = ids.index(after) + 1
    page = [_public(consent) for consent in consents[start : start + limit]]
    first_id, last_id = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    more = start + limit < len(consents)
    return {"object": "list", "data": page, "first_id": first_id, "last_id": last_id, "has_more": more}


@router.get("/audio/voice_consents/{consent_id}")
async def get_consent(consent_id: str, state: CurrentState, owner: Owner) -> dict[str, Any]:
    """One consent."""
    return _public(await state.pools.reading.run(state.library.consent, consent_id, owner))


@router.post("/audio/voice_consents/{consent_id}", dependencies=[JSON_ONLY])
async def rename_consent(consent_id: str, body: NewName, state: CurrentState, owner: Owner) -> dict[str, Any]:
    """Rename a consent."""
    name = check_name(body.name)
    return _public(await state.pools.storing.run(state.library.rename_consent, consent_id, name, owner))


@router.delete("/audio/voice_consents/{consent_id}")
async def delete_consent(consent_id: str, state: CurrentState, owner: Owner) -> dict[str, Any]:
    """Delete a consent; voices created with it are kept."""
    await state.pools.storing.run(state.library.remove_consent, consent_id, owner)
    return {"id": consent_id, "deleted": True, "object": "audio.voice_consent"}


def _public(consent: Consent) -> dict[str, Any]:
    return {
        "id": consent.id,
        "object": "audio.voice_consent",
        "name": consent.name,
        "language": consent.language,
        "created_at": consent.created_at,
    }
