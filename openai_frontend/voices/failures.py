"""Errors of voices and their storage, as sent to clients."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openai_frontend.errors import ApiError
from openai_frontend.observability.logs import OncePerInterval

logger = logging.getLogger(__name__)
_warn = OncePerInterval(logger)
_NO_RETRY = {"x-should-retry": "false"}
_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def storage_failure(folder: Path) -> Iterator[None]:
    """Converts disk failures to ApiError: 507 if the disk is full, 503 if it is slow or not writable."""
    try:
        yield
    except TimeoutError:
        message = "The voice library is locked by another process. Retry later."
        raise ApiError(503, "storage_busy", message, headers={"Retry-After": "2"}) from None
    except OSError as error:
        _warn("a voice or consent cannot be stored in %s: %s", folder, error.strerror)
        if error.errno in _FULL:
            message = "The disk of the voice library is full; nothing was stored. Delete voices, or free disk space."
            raise ApiError(507, "storage_full", message, headers=_NO_RETRY) from error
        message = f"The server cannot store voices in VOICES_FOLDER ({folder.name}): {error.strerror}. "
        message += "Set it to a writable folder."
        raise ApiError(503, "storage_unavailable", message, headers=_NO_RETRY) from error


def voice_not_found(voice_id: str) -> ApiError:
    """404 for an unknown voice."""
    return ApiError(
        404, "voice_not_found", f"There is no voice '{voice_id}'. GET /v1/audio/voices lists all.", param="voice_id"
    )


def consent_not_found(consent_id: str) -> ApiError:
    """404 for an unknown consent."""
    return ApiError(
        404,
        "consent_not_found",
        f"There is no voice consent '{consent_id}'. GET /v1/audio/voice_consents lists all.",
        param="consent_id",
    )


def voice_damaged(voice_id: str) -> ApiError:
    """500 for a voice with damaged files."""
    message = f"The recording of the voice '{voice_id}' is damaged. Delete the voice and create it again."
    return ApiError(500, "voice_damaged", message, param="voice", headers=_NO_RETRY)
