"""GET /: a page to try the server. Its scripts and styles are files of this server; no other host is used."""

from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

router = APIRouter()

_FOLDER: Final = Path(__file__).parents[2] / "static"
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "microphone=(self)",
    "Referrer-Policy": "no-referrer",
}


class _Files(StaticFiles):
    """The page's files, revalidated for every request, so that modules of two versions are never mixed."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


static = _Files(directory=_FOLDER)


@router.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
async def show_page() -> FileResponse:
    """The page."""
    return FileResponse(_FOLDER / "index.html", headers=_HEADERS)
