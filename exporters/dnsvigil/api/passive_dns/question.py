"""A question to passive DNS: from text to ranges of keys, and to what the tuples in them must be like."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, Self

import dns.rdatatype
import pyarrow as pa
import pyarrow.compute as pc

from dnsvigil.api.passive_dns.names import parse_name, wire_name
from dnsvigil.api.passive_dns.reader import Reader
from dnsvigil.store.tuple_file import SORTED_BY, Order
from dnsvigil.store.tuple_keys import (
    END,
    NAME,
    NEGATIVE_TYPES,
    Range,
    key_of_address,
    key_of_name,
    network_range,
    prefix_range,
)

DNSSEC_TYPES: Final = ("CDNSKEY", "CDS", "DLV", "DNSKEY", "DS", "NSEC", "NSEC3", "NSEC3PARAM", "RRSIG", "TA")
"""The types that ``ANY`` leaves out, and that ``ANY-DNSSEC`` means, as in DNSDB."""

ANY: Final = "ANY"
ANY_DNSSEC: Final = "ANY-DNSSEC"

_WILD: Final = ("*", "+")
_MAX_TIME: Final = 2**63 - 1

# Of names in the keys of each order: how keys begin, and in RE2 one label, all labels before the last, and the end.
_BEGIN: Final[dict[Order, str]] = {"names": "", "rdata": NAME}
_LABEL: Final[dict[Order, str]] = {"names": "[^.]+", "rdata": "[^. ]+"}
_ABOVE: Final[dict[Order, str]] = {"names": r"(.*\.)?", "rdata": r"([^ ]*\.)?"}
_END: Final[dict[Order, str]] = {"names": "$", "rdata": "( |$)"}


@dataclass(frozen=True)
class Fences:
    """Bounds of when a tuple was first and last seen, in seconds since 1970, each included."""

    time_first_before: int = _MAX_TIME
    time_first_after: int = 0
    time_last_before: int = _MAX_TIME
    time_last_after: int = 0

    @classmethod
    def between(cls, after: int | None, before: int | None, *, strict: bool) -> Self:
        """Return the bounds of tuples that were seen between two times; ``strict`` ones were not at other times."""
        begin, end = after or 0, _MAX_TIME if before is None else before
        if strict:
            return cls(time_first_after=begin, time_last_before=end)
        return cls(time_last_after=begin, time_first_before=end)

    def mask(self, table: pa.Table) -> pa.ChunkedArray | None:
        """Return which tuples are inside; None for all."""
        masks = []
        for column in ("time_first", "time_last"):
            before, after = getattr(self, f"{column}_before"), getattr(self, f"{column}_after")
            if before < _MAX_TIME:
                masks.append(pc.less_equal(table[column], before))
            if after > 0:
                masks.append(pc.greater_equal(table[column], after))
        return _all(masks)


@dataclass(frozen=True)
class Question:
    """Which tuples are asked for."""

    order: Order
    ranges: Sequence[Range]  # ascending, without overlap
    pattern: str | None = None  # RE2, which the keys in the ranges must match
    rrtype: str = ANY
    bailiwick: str | None = None
    fences: Fences = field(default_factory=Fences)

    def read(self, reader: Reader, deadline: float) -> Iterator[pa.Table]:
        """Yield the tuples that are asked for, in the order of their keys. Raises what the reader raises."""
        for low, high in self.ranges:
            for chunk in reader.chunks(self.order, low, high, deadline=deadline, select=self._select):
                yield self.answer(chunk)

    def _select(self, table: pa.Table) -> pa.Table:
        """Return the rows with a right key and type, be they of tuples that are not merged yet."""
        found = self.of_type(table)
        if self.pattern is None:
            return found
        return found.filter(pc.match_substring_regex(found[SORTED_BY[self.order][0]], self.pattern))

    def within(self, fences: Fences) -> "Question":
        """Return the question for tuples seen at some times only."""
        return replace(self, fences=fences)

    def of_type(self, table: pa.Table) -> pa.Table:
        """Return the rows with a right type."""
        types = table["rrtype"]
        if self.rrtype == ANY:
            return table.filter(pc.invert(pc.is_in(types, pa.array([*DNSSEC_TYPES, *NEGATIVE_TYPES]))))
        return table.filter(pc.is_in(types, pa.array(DNSSEC_TYPES if self.rrtype == ANY_DNSSEC else [self.rrtype])))

    def answer(self, table: pa.Table) -> pa.Table:
        """Return those of merged tuples that have a right bailiwick and times."""
        masks = [mask for mask in [self.fences.mask(table)] if mask is not None]
        if self.bailiwick is not None:
            masks.append(pc.fill_null(pc.equal(table["bailiwick"], self.bailiwick), False))
        return table.filter(_all(masks)) if masks else table

    def with_type(self, text: str | None) -> "Question":
        """Return the question for a type only. Raises ``ValueError``."""
        return replace(self, rrtype=parse_type(text)) if text else self

    def with_bailiwick(self, text: str | None) -> "Question":
        """Return the question for a bailiwick only. Raises ``ValueError``."""
        return replace(self, bailiwick=parse_name(text)) if text else self


def owner_name(text: str) -> Question:
    """Return the question for tuples of a name, which may have a wildcard. Raises ``ValueError``.

    As in DNSDB, ``*`` as the first or the last label stands for any number of labels, also none, and ``+`` for one.
    """
    return _named(text, "names")


def data_name(text: str) -> Question:
    """Return the question for tuples whose data is, or ends in, a name as in :func:`owner_name`."""
    return _named(text, "rdata")


def data_address(text: str) -> Question:
    """Return the question for tuples with an address, or one of a network or a range, ``192.0.2.1-192.0.2.9``.

    Raises ``ValueError``.
    """
    first, dash, last = text.partition("-")
    try:
        if dash:
            low, high = ip_address(first.strip()), ip_address(last.strip())
            if low.version != high.version or int(low) > int(high):
                raise ValueError
            return Question("rdata", [(key_of_address(low), key_of_address(high) + END)])
        network: IPv4Network | IPv6Network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!a} is no address, network or range of addresses") from None
    if network.num_addresses == 1:
        return Question("rdata", [_itself(key_of_address(network.network_address))])
    return Question("rdata", [network_range(network)])


def owner_octets(text: str) -> Question:
    """Return the question for a name in the wire's form, in hexadecimal digits. Raises ``ValueError``."""
    return _exact(wire_name(_octets(text)), "names")


def data_octets(text: str) -> Question:
    """Return the question for data in the wire's form that is an address or a name. Raises ``ValueError``."""
    octets = _octets(text)
    if len(octets) in (4, 16):
        return Question("rdata", [_itself(key_of_address(ip_address(octets)))])
    try:
        return _exact(wire_name(octets), "rdata")
    except ValueError:
        raise ValueError("raw data is looked up only where it is an address or a name") from None


def anything(text: str) -> Question:
    """Return the question for what a person gives: data for an address, a network or a range, else an owner's name."""
    try:
        return data_address(text)
    except ValueError:
        return owner_name(text)


def parse_type(text: str) -> str:
    """Return a type in capitals, ``TYPE65`` as ``HTTPS``. Raises ``ValueError``."""
    name = text.upper()
    if name in (ANY, ANY_DNSSEC, *DNSSEC_TYPES):
        return name
    try:
        return dns.rdatatype.to_text(dns.rdatatype.from_text(name))
    except (dns.rdatatype.UnknownRdatatype, ValueError):
        raise ValueError(f"{text!a} is no type of records") from None


def _named(text: str, order: Order) -> Question:
    labels = _labels(text)
    wild = [label for label in labels if label in _WILD]
    if not wild:
        return _exact(parse_name(text), order)
    if len(wild) > 1 or not (labels[0] in _WILD or labels[-1] in _WILD):
        raise ValueError("expected one wildcard, * or +, as the first or the last label")
    one, begin = wild == ["+"], _BEGIN[order]
    if len(labels) == 1:
        return Question(order, [prefix_range(begin)], f"^{begin}{_LABEL[order]}{_END[order]}" if one else None)
    if labels[0] in _WILD:
        key = begin + key_of_name(parse_name(".".join(labels[1:])))
        below = (f"{key}.", f"{key}/")  # the next character
        if one:
            return Question(order, [below], rf"^{re.escape(key)}\.{_LABEL[order]}{_END[order]}")
        return Question(order, [*_exact_ranges(key, order), below])
    key = re.escape(key_of_name(parse_name(".".join(labels[:-1]))))
    above = rf"{_LABEL[order]}\." if one else _ABOVE[order]
    return Question(order, [prefix_range(begin)], f"^{begin}{above}{key}{_END[order]}")


def _exact(name: str, order: Order) -> Question:
    return Question(order, _exact_ranges(_BEGIN[order] + key_of_name(name), order))


def _exact_ranges(key: str, order: Order) -> list[Range]:
    """Return the ranges of a key, and of those of data that has something before the name."""
    return [_itself(key)] if order == "names" else [_itself(key), (f"{key} ", f"{key}!")]  # the next character


def _itself(key: str) -> Range:
    return key, f"{key}\0"


def _labels(text: str) -> list[str]:
    r"""Return the labels of a name as they are written: ``\.`` is no dot, and ``\*`` no wildcard."""
    return re.findall(r"(?:\\.|[^.\\]|\\$)+|(?<=\.)(?=\.)|^(?=\.)", text.removesuffix("."), re.DOTALL)


def _octets(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ValueError("expected an even number of hexadecimal digits") from None


def _all(masks: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray | None:
    combined = None
    for mask in masks:
        combined = mask if combined is None else pc.and_(combined, mask)
    return combined
