"""The text that nfdump prints, as rows: flows, aggregated flows and statistics.

Every version of nfdump gets the same ``fmt:`` output format: the shorter ``pipe`` ended with nfdump 1.7.4, and nfdump
prints ``fmt:`` several times faster than Python makes rows of either.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, Final, TypedDict, TypeVar

from dnsvigil.sources.netflow.process import Process

Address = IPv4Address | IPv6Address


class Flow(TypedDict):
    """One flow, or several that are aggregated; a column that the aggregation does not keep is 0.

    ``first`` and ``last`` are local times without a zone, to the millisecond; ``fold`` distinguishes the two hours of
    the same name at the end of summer time. ``prot`` is the protocol's name, or its number where :data:`PROTOCOLS`
    lacks it. ``flags`` are the TCP flags as in the header, FIN being 1. ``dstport`` of an ICMP flow is
    256 * type + code. ``out_packets`` and ``out_bytes`` count the way back, from ``dstip`` to ``srcip``, in a record of
    both directions; pynfdump had no such columns.
    """

    af: int
    first: datetime
    last: datetime
    prot: str | int
    srcip: Address
    srcport: int
    dstip: Address
    dstport: int
    srcas: int
    dstas: int
    input: int
    output: int
    flags: int
    tos: int
    packets: int
    bytes: int
    flows: int
    out_packets: int
    out_bytes: int


Statistic = dict[str, Any]
"""One row of a statistic.

``first``, ``last`` (to the second), ``prot``, the element under the statistic's own name, ``af`` (0 where the element
is no address), ``flows``, ``packets``, ``bytes``, ``pps``, ``bps`` (bits a second), ``bpp`` (bytes a packet).
"""

COLUMNS: Final = {
    "first": "%ts",
    "last": "%te",
    "prot": "%pr",
    "srcip": "%sa",
    "srcport": "%sp",
    "dstip": "%da",
    "dstport": "%dp",
    "srcas": "%sas",
    "dstas": "%das",
    "input": "%in",
    "output": "%out",
    "flags": "%flg",
    "tos": "%tos",
    "packets": "%pkt",
    "bytes": "%byt",
    "flows": "%fl",
    "out_packets": "%opkt",
    "out_bytes": "%obyt",
}
"""The columns of a flow, each with its token in nfdump's ``fmt:`` format."""

_ALWAYS_KEPT: Final = ("first", "last", "packets", "bytes", "flows")
# From 1.7.5 on nfdump refuses to print what an aggregation does not keep. By nfdump's name of an element: the column
# that keeps it, and its token.
_AGGREGATED: Final = {
    **{name: (name, COLUMNS[name]) for name in ("srcip", "srcport", "dstip", "dstport", "srcas", "dstas", "tos")},
    **{f"{name}{version}": (name, COLUMNS[name]) for name in ("srcip", "dstip") for version in (4, 6)},
    "proto": ("prot", "%pr"),
    "inif": ("input", "%in"),
    "outif": ("output", "%out"),
    "srctos": ("tos", "%stos"),
}
_AF: Final = {4: int(AF_INET), 6: int(AF_INET6)}
_STATISTIC_COLUMNS: Final = 14  # ts,te,td,pr,val,fl,flP,pkt,pktP,byt,bytP,pps,bps,bpp

# As /etc/protocols spells them, whether the machine has that file or not.
PROTOCOLS: Final = {
    0: "ip",
    1: "icmp",
    2: "igmp",
    4: "ipencap",
    6: "tcp",
    8: "egp",
    9: "igp",
    17: "udp",
    33: "dccp",
    41: "ipv6",
    43: "ipv6-route",
    44: "ipv6-frag",
    46: "rsvp",
    47: "gre",
    50: "esp",
    51: "ah",
    58: "ipv6-icmp",
    59: "ipv6-nonxt",
    60: "ipv6-opts",
    88: "eigrp",
    89: "ospf",
    94: "ipip",
    97: "etherip",
    103: "pim",
    108: "ipcomp",
    112: "vrrp",
    115: "l2tp",
    132: "sctp",
    136: "udplite",
    137: "mpls-in-ip",
}
"""Names of protocols by their numbers."""
_FLAG_LETTERS: Final = "FSRPAUEC"  # from FIN on upwards


_Row = TypeVar("_Row")


def kept_columns(aggregate: Iterable[str]) -> dict[str, str]:
    """Return the columns, with their tokens, that an aggregation by these elements keeps."""
    elements = (name.split("/")[0] for name in aggregate)
    kept = dict(_AGGREGATED[name] for name in elements if name in _AGGREGATED)
    return {column: COLUMNS[column] for column in _ALWAYS_KEPT} | kept


def read_flows(process: Process, columns: Iterable[str]) -> Iterator[Flow]:
    """Yield the flows that nfdump prints with these columns in the ``fmt:`` format, separated by ``|``."""
    names = list(columns)
    return _read(process, "|", len(names), _flow if names == list(COLUMNS) else _aggregated(names))


def read_statistics(process: Process, element: str) -> Iterator[Statistic]:
    """Yield the rows of a statistic that nfdump prints as CSV."""
    return _read(process, ",", _STATISTIC_COLUMNS, lambda cells: _statistic(element, cells))


def _read(process: Process, separator: str, columns: int, parse: Callable[[list[str]], _Row | None]) -> Iterator[_Row]:
    with closing(process.lines()) as lines:
        for line in lines:
            cells = line.split(separator)
            if len(cells) != columns:
                (process.add_unreadable if "|" in line else process.add_message)(line.strip())
                continue
            try:
                row = parse(cells)
            except (ValueError, OverflowError, OSError):
                process.add_unreadable(line.strip())
            else:
                if row is not None:
                    yield row


def _flow(cells: Sequence[str]) -> Flow:
    source = _address(cells[3])
    first = _time(cells[0])
    return {
        "af": _AF[source.version],
        "first": first,
        "last": first if cells[1] == cells[0] else _time(cells[1]),
        "prot": _protocol(cells[2]),
        "srcip": source,
        "srcport": int(cells[4]),
        "dstip": _address(cells[5]),
        "dstport": _port(cells[6]),
        "srcas": int(cells[7]),
        "dstas": int(cells[8]),
        "input": int(cells[9]),
        "output": int(cells[10]),
        "flags": _flags(cells[11]),
        "tos": int(cells[12]),
        "packets": int(cells[13]),
        "bytes": int(cells[14]),
        "flows": int(cells[15]),
        "out_packets": int(cells[16]),
        "out_bytes": int(cells[17]),
    }


def _aggregated(columns: Sequence[str]) -> Callable[[list[str]], Flow]:
    """Return the parser of rows with these columns only."""

    def parse(cells: list[str]) -> Flow:
        given = dict(zip(columns, cells, strict=True))
        unset = "::" if ":" in given.get("srcip", "") + given.get("dstip", "") else "0.0.0.0"  # noqa: S104
        missing = {"srcip": unset, "dstip": unset}
        return _flow([given.get(name, missing.get(name, "0")) for name in COLUMNS])

    return parse


def _statistic(element: str, cells: Sequence[str]) -> Statistic | None:
    if cells[0] == "ts":
        return None
    value = _value(cells[4].strip())
    protocol = cells[3].strip()
    return {
        "af": _AF[value.version] if isinstance(value, Address) else 0,
        "first": _time(cells[0]),
        "last": _time(cells[1]),
        "prot": _protocol("0" if protocol == "any" else protocol),
        element: value,
        "flows": int(cells[5]),
        "packets": int(cells[7]),
        "bytes": int(cells[9]),
        "pps": int(cells[11]),
        "bps": int(cells[12]),
        "bpp": int(cells[13]),
    }


@lru_cache(maxsize=65_536)
def _address(text: str) -> Address:
    text = text.strip()
    # inet_pton is three times as fast as the classes at reading text
    return IPv6Address(inet_pton(AF_INET6, text)) if ":" in text else IPv4Address(inet_pton(AF_INET, text))


def _time(text: str) -> datetime:
    if text.startswith("0000-"):  # how later versions of nfdump write that a flow has no time
        return datetime.fromtimestamp(0)
    return datetime.fromtimestamp(datetime.fromisoformat(f"{text}+00:00").timestamp())


def _protocol(text: str) -> str | int:
    number = int(text)
    return PROTOCOLS.get(number, number)


def _port(text: str) -> int:
    """Return a port; nfdump writes type.code for ICMP."""
    kind, dot, code = text.partition(".")
    return 256 * int(kind) + int(code) if dot else int(kind)


@lru_cache
def _flags(text: str) -> int:
    """Return TCP flags: nfdump writes a number, or in some versions up to 1.7 letters such as ``...AP.SF``."""
    text = text.strip()
    return int(text) if text.isdigit() else sum(1 << _FLAG_LETTERS.index(letter) for letter in text.replace(".", ""))


def _value(text: str) -> int | str | Address:
    try:
        return _address(text) if "." in text or ":" in text else int(text)
    except (ValueError, OSError):
        return text
