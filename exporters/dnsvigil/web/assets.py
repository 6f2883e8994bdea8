"""The files beside the pages: a fixed table, so that no request can name another."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from flask import Response

_FOLDER: Final = Path(__file__).with_name("static")
_TYPES: Final = {
    "style.css": "text/css; charset=utf-8",
    "refresh.js": "text/javascript; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

NAMES: Final = tuple(_TYPES)


def asset(name: str) -> Response:
    """Return a file, one of ``NAMES``. Its URL changes with its content, so browsers need not ask again."""
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
    return Response(_content(name), headers=headers, content_type=_TYPES[name])


@cache
def asset_url(name: str) -> str:
    """Return the URL of a file, relative to the root."""
    return f"static/{name}?{hashlib.sha256(_content(name)).hexdigest()[:12]}"


@cache
def _content(name: str) -> bytes:
    return (_FOLDER / name).read_bytes()
