"""Media types of request bodies: JSON must be declared, since pages of other origins may send `text/plain` freely."""

from typing import Final

from fastapi import Depends, Request

from openai_frontend.errors import ApiError

FORMS: Final = ("multipart/form-data", "application/x-www-form-urlencoded")


def media_type(request: Request) -> str:
    """The Content-Type without its parameters, in lower case; empty without one."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def is_json(kind: str) -> bool:
    """Whether a media type is JSON."""
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


async def check_json(request: Request) -> None:
    """Raises ApiError 415 for a body that is not declared as JSON."""
    kind = media_type(request)
    if is_json(kind):
        return
    if not kind and not await request.body():
        return  # missing fields are reported individually
    said = f"The body is declared as {kind}" if kind else "The body has no Content-Type"
    hint = ", the default of curl -d" if kind == "application/x-www-form-urlencoded" else ""
    message = f"{said}{hint}. Send JSON with the header `Content-Type: application/json`."
    raise ApiError(415, "unsupported_media_type", message)


JSON_ONLY: Final = Depends(check_json)
