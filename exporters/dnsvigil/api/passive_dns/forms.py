"""What is found, in the forms of others: objects of DNSDB, and the Common Output Format.

DNSDB's are described at https://docs.domaintools.com/api/dnsdb/, the Common Output Format (COF) in
draft-dulaunoy-dnsop-passive-dns-cof. Both have the escapes of zone files. Names in COF have no
final dot, as CIRCL's.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from dnsvigil.api.passive_dns.lookup import Found
from dnsvigil.api.passive_dns.names import zone_file_name, zone_file_text
from dnsvigil.api.passive_dns.private import is_private
from dnsvigil.store.tuple_keys import NAMED_TYPES


def dnsdb(found: Found, *, humantime: bool = False) -> dict[str, Any]:
    """Return an object of DNSDB; ``humantime`` has times in text instead of seconds since 1970."""
    record: dict[str, Any] = {
        "count": found.count,
        "time_first": found.time_first,
        "time_last": found.time_last,
        "rrname": zone_file_name(found.rrname),
        "rrtype": found.rrtype,
    }
    if humantime:
        record |= times(record)
    if found.bailiwick is not None:
        record["bailiwick"] = zone_file_name(found.bailiwick)
    return {**record, "rdata": [_data(found.rrtype, rdata) for rdata in found.rdata]}


def times(content: Mapping[str, Any]) -> dict[str, str]:
    """Return the times in an object of DNSDB as text."""
    found = {
        name: datetime.fromtimestamp(content[name], UTC) for name in ("time_first", "time_last") if name in content
    }
    return {name: f"{time:%Y-%m-%dT%H:%M:%SZ}" for name, time in found.items()}


def cof(found: Found, sensors: Mapping[int, str]) -> dict[str, Any]:
    """Return a record in COF; ``sensors`` has the names of sensors by number.

    ``x_private_address`` is there, and true, where a public name has a private address.
    """
    (rdata,) = found.rdata
    record: dict[str, Any] = {
        "rrname": _undotted(zone_file_name(found.rrname)),
        "rrtype": found.rrtype,
        "rdata": _undotted(_data(found.rrtype, rdata)) if found.rrtype in NAMED_TYPES else zone_file_text(rdata),
        "time_first": found.time_first,
        "time_last": found.time_last,
        "count": found.count,
    }
    if found.bailiwick is not None:
        record["bailiwick"] = _undotted(zone_file_name(found.bailiwick))
    if names := ",".join(_sensors(found.sensors, sensors)):
        record["sensor_id"] = names
    if is_private(found.rrname, found.rrtype, rdata):
        record["x_private_address"] = True
    return record


def _sensors(bits: int, names: Mapping[int, str]) -> Iterable[str]:
    return (name for number, name in names.items() if bits >> number & 1)


def _data(rrtype: str, rdata: str) -> str:
    """Return data as zone files have it, names with final dots."""
    if rrtype in NAMED_TYPES:
        before, _, name = rdata.rpartition(" ")
        return f"{before} {zone_file_name(name)}" if before else zone_file_name(name)
    text = zone_file_text(rdata)
    if rrtype == "SOA" and len(parts := text.split(" ")) == 7:
        return " ".join([*_dotted(parts[:2]), *parts[2:]])
    return text


def _dotted(names: Iterable[str]) -> Iterator[str]:
    return (name if name.endswith(".") else f"{name}." for name in names)


def _undotted(name: str) -> str:
    return name if name == "." or name.endswith(" .") else name.removesuffix(".")
