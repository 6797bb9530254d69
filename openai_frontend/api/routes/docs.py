"""GET /docs: interactive API documentation. Its scripts and styles are served by this server."""

from pathlib import Path
from typing import Final

import fastapi_offline
from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

router = APIRouter()

_HEADERS: Final = {
    "Content-Security-Policy": (
        # The page has an inline script, and creates inline styles.
        "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; media-src blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}

assets = StaticFiles(directory=Path(fastapi_offline.__file__).parent / "static")


@router.get("/docs", include_in_schema=False)
async def show_docs() -> HTMLResponse:
    """The page."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Triton Speech Server",
        swagger_js_url="/docs/assets/swagger-ui-bundle.js",
        swagger_css_url="/docs/assets/swagger-ui.css",
        swagger_favicon_url="data:,",
    )
    page.headers.update(_HEADERS)
    return page
