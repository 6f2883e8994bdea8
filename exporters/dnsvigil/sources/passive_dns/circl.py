"""Asks CIRCL's passive DNS, or what has its API, through the client pypdns."""

from collections.abc import Iterator
from typing import Final

from dnsvigil import __version__
from dnsvigil.sources.passive_dns.remote import Asked, Record, RemoteError, asking, missing

SERVICE: Final = "CIRCL"


def records(url: str, username: str, password: str, asked: Asked) -> Iterator[Record]:
    """Yield what CIRCL has of a name or an address. Raises :class:`RemoteError`."""
    try:
        import pypdns
        from pypdns import errors
    except ModuleNotFoundError as error:
        raise missing(SERVICE, error) from error
    if "/" in asked.what or asked.in_data or any(label in ("*", "+") for label in asked.what.split(".")):
        raise RemoteError(f"{SERVICE}: it looks up names and addresses only, without wildcards and networks")
    reasons = {
        errors.UnauthorizedError: "the user or the password is not accepted",
        errors.ForbiddenError: "the user may not ask that",
        errors.RateLimitError: "the user has no look-ups left",
    }
    agent = f"dnsvigil/{__version__}"
    with asking(SERVICE, lambda _: True):
        client = pypdns.PyPDNS(url, (username, password), useragent=agent, disable_active_query=True)
        try:
            for number, found in enumerate(client.iter_query(asked.what, filter_rrtype=asked.rrtype)):
                if number == asked.limit:
                    raise RemoteError(f"{SERVICE}: there may be more; see --limit")
                yield {**found.raw, "origin": url}
        except errors.PDNSError as error:
            raise RemoteError(f"{SERVICE}: {reasons.get(type(error), str(error) or type(error).__name__)}") from error
        except (KeyError, ValueError) as error:
            raise RemoteError(f"{SERVICE}: the answer is not what pypdns understands: {error}") from error


def first_seen(url: str, username: str, password: str, name: str) -> int | None:
    """Return when CIRCL saw a name first, in seconds since 1970; None for never. Raises :class:`RemoteError`."""
    found = records(url, username, password, Asked(name, is_address=False))
    return min((int(record["time_first"]) for record in found), default=None)
