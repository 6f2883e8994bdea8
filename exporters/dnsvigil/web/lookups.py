"""What somebody has looked up of late: it stays in their browser, as a cookie; the collector keeps nothing of it."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote

COOKIE: Final = "dnsvigil-lookups"
"""The cookie, which ends with the browser's session."""

KEPT: Final = 10
"""How many look-ups there are in it."""

_MAX_BYTES: Final = 2000


def lookups(cookies: Mapping[str, str]) -> list[str]:
    """Return the last look-ups of who sends these cookies, the newest first."""
    cookie = cookies.get(COOKIE, "")[:_MAX_BYTES]
    return [unquote(each, errors="replace") for each in cookie.split("&")[:KEPT] if each]


def with_lookup(cookies: Mapping[str, str], text: str) -> str:
    """Return the value of the cookie after another look-up."""
    value = ""
    for each in dict.fromkeys([text, *lookups(cookies)][: KEPT + 1]):
        more = f"{value}&{quote(each, safe='')}".removeprefix("&")
        if len(more) > _MAX_BYTES or value.count("&") == KEPT - 1:
            break
        value = more
    return value
