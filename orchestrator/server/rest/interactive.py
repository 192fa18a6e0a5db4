"""`/docs`: the API as a page that one can try it on. All files come from this machine.

Swagger UI's script and style sheet are those that the distribution `fastapi-offline` carries
(Apache-2.0); nothing of its code is run.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import FileResponse

from ....core.errors import EngineError, UnknownNameError

router = APIRouter(include_in_schema=False)

PATH = "/docs"
PACKAGE = "fastapi-offline"

_OURS = Path(__file__).with_name("web")
_FILES = {
    "start.js": "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}

HEADERS = {
    # Scripts from files of this server alone, none that stands in the page. Swagger UI sets styles
    # of single elements; its icons are data: addresses in its style sheet.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Kizy's API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<noscript>This page needs JavaScript; the API's document is <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js" data-base="."></script>
</body>
</html>
"""  # noqa: E501


@router.get(PATH)
async def page() -> Response:
    _file("swagger-ui-bundle.js")
    return Response(_PAGE, headers=HEADERS, media_type="text/html")


@router.get(f"{PATH}/")
async def page_with_a_slash() -> Response:
    # Relative, so that it holds below the path of a proxy, too.
    return Response(status_code=308, headers=HEADERS | {"Location": "../docs"})


@router.get(f"{PATH}/{{name}}")
async def part(name: str, request: Request) -> Response:
    if name not in _FILES:
        raise UnknownNameError("route_unknown", f"There is no {request.url.path[:200]}.")
    headers = HEADERS | {"Cache-Control": "no-cache"}
    return FileResponse(_file(name), headers=headers, media_type=_FILES[name])


def is_part(path: str) -> bool:
    """Whether a path is the page or one of its files."""
    return path == PATH or path.startswith(f"{PATH}/")


def key_of_login(headers: Mapping[str, Any]) -> str | None:
    """The key that a browser was given as the password of a login, with any user name."""
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        login = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return login.partition(":")[2] or None


def _file(name: str) -> Path:
    """Raises EngineError `page_missing`."""
    ours = _OURS / name
    if ours.is_file():
        return ours
    try:
        listed = files(PACKAGE) or []
    except PackageNotFoundError:
        listed = []
    found = next((one for one in listed if one.name == name), None)
    path = Path(str(found.locate())) if found is not None else None
    if path is None or not path.is_file():
        message = f"The page needs {name} of the package {PACKAGE}, which is not installed."
        raise EngineError("page_missing", message)
    return path
