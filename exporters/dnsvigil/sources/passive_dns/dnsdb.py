"""Asks DNSDB, or what has its API, through the client dnsdb2."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from dnsvigil import __version__
from dnsvigil.sources.passive_dns.remote import Asked, Record, RemoteError, asking, missing

SERVICE: Final = "DNSDB"

_WHOLE: Final = ("succeeded", "limited")


def records(url: str, key: str, asked: Asked) -> Iterator[Record]:
    """Yield what DNSDB has, record by record. Raises :class:`RemoteError`, also where it has more."""
    with _client(url, key, asked.what) as client:
        for found in _found(client, asked):
            yield from _split(found, url)


def first_seen(url: str, key: str, name: str) -> int | None:
    """Return when DNSDB saw a name first, in seconds since 1970; None for never. Raises :class:`RemoteError`."""
    with _client(url, key, name) as client:
        found = [summary for summary in client.summarize_rrset(name) if summary.get("count")]
    times = [summary[each] for summary in found for each in ("time_first", "zone_time_first") if each in summary]
    return min(times, default=None)


@contextmanager
def _client(url: str, key: str, what: str) -> Iterator[Any]:
    """Give a client. Raises :class:`RemoteError` for what it raises inside."""
    try:
        import dnsdb2
    except ModuleNotFoundError as error:
        raise missing(SERVICE, error) from error
    reasons = {
        dnsdb2.AccessDenied: "the API key is not accepted",
        dnsdb2.QuotaExceeded: "the API key has no look-ups left",
        dnsdb2.ConcurrencyExceeded: "it is busy",
        dnsdb2.QueryLimited: "there may be more; see --limit",
    }
    with asking(SERVICE, _is_whole):
        client = dnsdb2.Client(key, server=url, swclient="dnsvigil", version=__version__)
        try:
            yield client
        except dnsdb2.DnsdbException as error:
            if isinstance(error, dnsdb2.QueryError) and error.__cause__:  # of requests
                raise error.__cause__ from None
            reason = reasons.get(type(error)) or f"the answer is not complete: {error or type(error).__name__}"
            raise RemoteError(f"{SERVICE}: {reason}") from error
        except UnicodeError as error:
            raise RemoteError(f"{SERVICE}: {what!a} cannot be asked: {error}") from error
        finally:
            client.close()


def _found(client: Any, asked: Asked) -> Iterator[dict[str, Any]]:
    more = {"rrtype": asked.rrtype, "limit": asked.limit, **asked.fences}
    if asked.is_address:
        return client.lookup_rdata_ip(asked.what, **more)  # type: ignore[no-any-return]
    if asked.in_data:
        return client.lookup_rdata_name(asked.what, **more)  # type: ignore[no-any-return]
    return client.lookup_rrset(asked.what, bailiwick=asked.bailiwick, **more)  # type: ignore[no-any-return]


def _split(found: dict[str, Any], url: str) -> Iterator[Record]:
    """Yield each record of a set, with names as in the Common Output Format of CIRCL."""
    rdata = found["rdata"]
    common = {**found, "origin": url, "rrname": _undotted(found["rrname"])}
    if "bailiwick" in found:
        common["bailiwick"] = _undotted(found["bailiwick"])
    for each in [rdata] if isinstance(rdata, str) else rdata:
        yield {**common, "rdata": each if each.endswith('"') else _undotted(each)}


def _undotted(name: str) -> str:
    return name if name == "." or name.endswith(" .") else name.removesuffix(".")


def _is_whole(content: bytes) -> bool:
    try:
        return json.loads(content.splitlines()[-1]).get("cond") in _WHOLE
    except (ValueError, IndexError, AttributeError):
        return False
