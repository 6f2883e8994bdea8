"""A flow file into tables: services, DNS pairs and top talkers, in one pass over what nfdump reads.

nfdump reads and unpacks the file, whatever wrote it, and hands its records over as ``nfdump -w`` writes them. They
become columns here, a block at a time, which DuckDB takes and sums up while the next block is read:

    blocks of records ─ flows of one layout ─┬─ rows: DNS pairs, and the ends of all other flows ─ DuckDB
                                             └─ sums of services

To have nfdump aggregate takes a pass for each table, longer in all, and memory by the number of pairs; to have it print
every flow takes several times as long. Where the records are not of the form known here, or the file is damaged, they
are still taken from what it prints.
"""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import islice
from operator import or_
from pathlib import Path
from socket import AF_INET6, inet_ntop
from struct import Struct
from typing import IO, Any, BinaryIO, Final

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dnsvigil.sources.netflow.nfdump import PROTOCOLS as NAMED_PROTOCOLS
from dnsvigil.sources.netflow.nfdump import DamagedFileError, Dumper, Flow, Limits, NFDumpError
from dnsvigil.sources.zeek.reader import read_ahead
from dnsvigil.system.files import NotAFileError, open_file

logger = logging.getLogger(__name__)

PROTOCOLS: Final = ("tcp", "udp", "icmp", "other")
"""The protocols with names of their own; that of ICMPv6 is icmp."""

SERVICES: Final = {
    "dns": (53,),
    "dot": (853,),
    "mdns": (5353,),
    "https": (443,),
    "http": (80, 8080),
    "ntp": (123,),
    "ssh": (22,),
    "telnet": (23,),
    "smtp": (25, 465, 587),
    "snmp": (161, 162),
    "ldap": (389, 636),
    "smb": (137, 138, 139, 445),
    "rdp": (3389,),
    "sip": (5060, 5061),
    "memcached": (11211,),
    "ssdp": (1900,),
    "chargen": (19,),
    "netflow": (2055, 9995, 9996),
    "other": (),
}
"""The ports of each service. A flow's is that of its destination port if that has one, else of its source port."""

DNS_PORTS: Final = (53, 853)
"""A flow to one of these has questions, one from them (and not to them) has answers."""

TALKERS: Final = 10
"""How many top senders and receivers are kept."""


class UnfinishedFileError(NFDumpError):
    """The file is still being written."""


@dataclass(frozen=True)
class FlowInfo:
    """What a flow file tells of itself: sums, and times in UTC without a zone, None where it has no flow."""

    ident: str = ""  # of the exporter; empty where it has none
    flows: int = 0
    packets: int = 0
    bytes: int = 0
    sequence_failures: int = 0
    first: datetime | None = None
    last: datetime | None = None


@dataclass(frozen=True)
class Loaded:
    """What :meth:`FlowReader.load` found; ``damage`` is what nfdump says against the file, None for a sound one."""

    info: FlowInfo
    damage: str | None
    flows: int  # that were read, each record once, whether it has one direction or both
    skipped: Mapping[str, int] = field(default_factory=dict)  # flows that were not, by reason
    refused: bool = False  # all flows are skipped, for the time in the file's name
    first: datetime | None = None  # begin of the first flow whose time is right, UTC; None where no flow has a time
    last: datetime | None = None  # end of the last one
    minutes: Mapping[datetime, int] = field(default_factory=dict)  # how many of them end in each minute


@dataclass(frozen=True)
class Times:
    """The times that flows may have, in UTC without a zone; a flow that has none has that of its file."""

    oldest: datetime
    latest: datetime

    def reason(self, when: datetime) -> str | None:
        """Return the reason to skip what is of a time, None for one that it may have."""
        if not _EARLIEST <= when <= self.latest:
            return TIMESTAMP
        return TOO_OLD if when < self.oldest else None

    def wrong(self, ends: NDArray[Any]) -> dict[str, NDArray[np.bool_]]:
        """Return which flows to skip, by reason; ``ends`` are in milliseconds since the epoch, 0 where unknown."""
        earliest, oldest, latest = map(_milliseconds, (_EARLIEST, self.oldest, self.latest))
        known = ends > 0
        odd = (ends > latest) | known & (ends < earliest)
        return {TIMESTAMP: odd, TOO_OLD: known & ~odd & (ends < oldest)}


TIMESTAMP: Final = "timestamp"
"""The reason to skip a flow, or all of a file, whose time cannot be right."""

TOO_OLD: Final = "too_old"
"""The reason to skip a flow, or all of a file, that the store would not keep."""

_EARLIEST: Final = datetime(1990, 1, 1)

NO_TRAFFIC: Final = "no_traffic"
"""The reason to skip a flow that has neither packets nor bytes in any direction: it reports an event."""

_Flows = Mapping[str, NDArray[Any]]
"""Columns, those of ``_FIELDS``; with the counts of the way back if the flows have them, and with ``unsplit``, which
marks flows whose bytes are those of both directions together."""

_EPOCH: Final = datetime(1970, 1, 1)
_MINUTE: Final = 60_000  # milliseconds
_FEW_MINUTES: Final = 1 << 16
_ROWS_AT_ONCE: Final = 1 << 15  # that are printed
_AT_ONCE: Final = 4 << 20  # bytes of records
_MAX_SIZES: Final = 16  # of records that are recognised
# Of a record; more is a mistake of the exporter. 400 Gbit/s carry as much in 90 seconds.
_MOST: Final = np.uint64(1 << 42)
_LARGEST: Final = 2**63 - 1024  # sum; the next double is too large for a BIGINT

# What nfdump 1.7 writes (its nffileV2.h and nfxV3.h): a header, then blocks of records, each of them a header and some
# elements.
_HEADER: Final = Struct("<HHIqBBHIqII")
_MAGIC: Final = 0xA50C
_LAYOUTS: Final = (1, 2)
_BLOCK: Final = Struct("<IIHH")
_DATA, _ARRAYS = 3, 4
_LARGEST_BLOCK: Final = 64 << 20  # bytes; nfdump makes none of more than five MiB
_NOTHING: Final = b"No matching flows\n"  # which nfdump prints, wherever the records go
_RECORD: Final = 11
_RECORD_HEADER: Final = 12
_HEAD: Final = 4  # type and size, with which a record and an element begin
_GENERIC, _IPV4, _IPV6, _COUNTERS, _NSEL = 1, 2, 3, 5, 19
_LENGTHS: Final = {_GENERIC: 52, _IPV4: 12, _IPV6: 36, _COUNTERS: 28}
_FIELDS: Final = {
    "first": (_GENERIC, 0, "<u8"),
    "last": (_GENERIC, 8, "<u8"),
    "packets": (_GENERIC, 24, "<u8"),
    "bytes": (_GENERIC, 32, "<u8"),
    "src_port": (_GENERIC, 40, "<u2"),
    "dst_port": (_GENERIC, 42, "<u2"),
    "proto": (_GENERIC, 44, "u1"),
    "src_high": (_IPV6, 0, "<u8"),
    "src_low": (_IPV6, 8, "<u8"),
    "dst_high": (_IPV6, 16, "<u8"),
    "dst_low": (_IPV6, 24, "<u8"),
    "flows": (_COUNTERS, 0, "<u8"),
}
"""Element, place in its content, and kind of what is wanted of a record; 0 where the record lacks it."""
_FIELDS_IPV4: Final = {"src_low": (_IPV4, 0, "<u4"), "dst_low": (_IPV4, 4, "<u4")}
_FIELDS_BACK: Final = {"out_packets": (_COUNTERS, 8, "<u8"), "out_bytes": (_COUNTERS, 16, "<u8")}
_MAPPED: Final = np.uint64(0xFFFF << 32)  # before an IPv4 address, as in RFC 4291
_FIRST_OF_MAPPED: Final = bytes(10) + b"\xff\xff"

_PROTOCOL: Final = np.full(256, PROTOCOLS.index("other"), "u1")
_PROTOCOL[[6, 17, 1, 58]] = [PROTOCOLS.index(name) for name in ("tcp", "udp", "icmp", "icmp")]
_NUMBERS: Final = {name: number for number, name in NAMED_PROTOCOLS.items()}
_PORTED: Final = np.zeros(256, bool)
_PORTED[[6, 17, 33, 132, 136]] = True  # of others, ICMP among them, no field is a port, whatever it is called
_DNS_PROTOCOLS: Final = PROTOCOLS.index("udp")  # and those before it
_OTHER: Final = len(SERVICES) - 1
_SERVICE: Final = np.full(65_536, _OTHER, "u1")
for _index, _ports in enumerate(SERVICES.values()):
    _SERVICE[list(_ports)] = _index

_COUNTS: Final = ("flows", "packets", "bytes")
_PAIR: Final = ("client_high", "client_low", "server_high", "server_low", "port_and_protocol")
_PAIR_COUNTS: Final = tuple(f"{kind}_{count}" for kind in ("query", "response") for count in _COUNTS)
# Counts are added up as doubles, as exact as whole numbers up to 2**53: DuckDB holds sums of 64 bits in 128.
_ROWS: Final = pa.schema(
    {
        **dict.fromkeys(_PAIR, pa.uint64()),
        "port_and_protocol": pa.uint32(),
        **dict.fromkeys(_PAIR_COUNTS, pa.float64()),
        "unsplit": pa.bool_(),
    }
)


def _sums(ways: Iterable[str], unsplit: str) -> str:
    """Return the sums of the counts of these ways, such as ``query``.

    No flow has a count of 0, so a sum of 0 is unknown where there are flows, or any that are ``unsplit``.
    """
    sums = []
    for way in ways:
        for count in _COUNTS:
            flows = f"sum({way}_flows) > 0" if count != "flows" else "false"
            total = f"sum({way}_{count}::DOUBLE)"
            sums.append(
                f"CASE WHEN {total} > {_LARGEST} THEN {_LARGEST} WHEN {total} > 0 THEN {total}"
                f" WHEN {flows} OR {unsplit} THEN NULL ELSE 0 END::BIGINT AS {way}_{count}"
            )
    return ", ".join(sums)


_SENT: Final = tuple(f"sent_{count}" for count in _COUNTS)
_GOT: Final = tuple(f"got_{count}" for count in _COUNTS)

# A flow that is not DNS is two rows, one of each end as if that were a client that sends queries and gets responses.
_SUMMED: Final = f"""
CREATE OR REPLACE TEMP TABLE flow_sums AS
    SELECT {", ".join(_PAIR)}, {_sums(("query", "response"), "bool_or(unsplit)")},
        bool_or(query_flows > 0 AND query_packets = 0 OR response_flows > 0 AND response_packets = 0) AS uncounted,
        bool_or(unsplit) AS unsplit
    FROM flow_rows GROUP BY ALL
"""
_TALKERS: Final = f"""
CREATE OR REPLACE TEMP TABLE flow_talker_sums AS
    SELECT high, low, {_sums(("sent", "got"), "false")} FROM (
        SELECT client_high, client_low, {", ".join(_PAIR_COUNTS)} FROM flow_sums
        UNION ALL SELECT server_high, server_low, {", ".join((*_PAIR_COUNTS[3:], *_PAIR_COUNTS[:3]))} FROM flow_sums
            WHERE port_and_protocol > 0
    ) AS ends(high, low, {", ".join((*_SENT, *_GOT))}) GROUP BY ALL;
CREATE OR REPLACE TEMP TABLE flow_greatest AS {
    " UNION ALL ".join(
        f"(SELECT '{element}' AS element, high, low, {', '.join(f'{way}_{count} AS {count}' for count in _COUNTS)}"
        f" FROM flow_talker_sums WHERE {way}_flows > 0 ORDER BY {way}_bytes DESC, high, low LIMIT {TALKERS})"
        for element, way in (("srcip", "sent"), ("dstip", "got"))
    )
};
DROP TABLE flow_talker_sums;
"""
_NEW_ADDRESSES: Final = """
SELECT DISTINCT high, low FROM (
    SELECT client_high AS high, client_low AS low FROM flow_sums WHERE port_and_protocol > 0
    UNION ALL SELECT server_high, server_low FROM flow_sums WHERE port_and_protocol > 0
    UNION ALL SELECT high, low FROM flow_greatest
) WHERE high > 0 OR low >> 32 != 65535
"""


def _address(prefix: str, name: str) -> str:
    low = f"{prefix}low"
    octets = ", ".join(f"{low} >> {shift} & 255" for shift in (24, 16, 8, 0))
    return f"coalesce({name}.address, concat_ws('.', {octets}))"


_RESULTS: Final = f"""
CREATE OR REPLACE TEMP TABLE flow_pairs AS
    SELECT {_address("client_", "c")} AS client, {_address("server_", "s")} AS server,
        (port_and_protocol >> 2)::USMALLINT AS server_port, {list(PROTOCOLS)}[(port_and_protocol & 3) + 1] AS proto,
        {", ".join(_PAIR_COUNTS)}, uncounted, unsplit, client_high, client_low, server_high, server_low
    FROM flow_sums
    LEFT JOIN flow_addresses AS c ON c.high = client_high AND c.low = client_low
    LEFT JOIN flow_addresses AS s ON s.high = server_high AND s.low = server_low
    WHERE port_and_protocol > 0;
CREATE OR REPLACE TEMP TABLE flow_talkers AS
    SELECT element, {_address("g.", "a")} AS talker, flows, packets, bytes
    FROM flow_greatest AS g LEFT JOIN flow_addresses AS a ON a.high = g.high AND a.low = g.low;
"""
_SERVICE_SUMS: Final = """
CREATE OR REPLACE TEMP TABLE flow_services AS
    SELECT unnest($protocol::VARCHAR[]) AS protocol, unnest($service::VARCHAR[]) AS service,
        unnest($flows::BIGINT[]) AS flows, unnest($packets::BIGINT[]) AS packets, unnest($bytes::BIGINT[]) AS bytes
"""
_INTERMEDIATE: Final = ("flow_sums", "flow_talker_sums", "flow_greatest")
_TABLES: Final = ("flow_services", "flow_pairs", "flow_talkers")


def is_flow_file(path: Path) -> bool:
    """Tell by its first bytes whether a file is one of nfdump's. Raises :class:`OSError`."""
    with open_file(path) as file:
        head = file.read(4)
    return int.from_bytes(head[:2], "little") == _MAGIC and int.from_bytes(head[2:], "little") in _LAYOUTS


class FlowReader:
    """Loads flow files, one after the other, into temporary tables of a connection.

    - ``flow_services``: ``protocol``, ``service``, ``flows``, ``packets``, ``bytes``.
    - ``flow_pairs``: one row for each ``client``, ``server``, ``server_port`` and ``proto``, with ``query_flows``,
      ``query_packets``, ``query_bytes``, ``response_flows``, ``response_packets``, ``response_bytes``; whether some of
      its flows are ``uncounted`` (no packet count) or ``unsplit`` (one count for both directions); then the addresses
      as numbers, ``client_high`` and ``client_low``, 64 bits each, IPv4 mapped as in RFC 4291, and so the server's.
    - ``flow_talkers``: for each ``element`` of srcip and dstip the ``TALKERS`` with most bytes: ``talker``, ``flows``,
      ``packets``, ``bytes``.

    A record of both directions counts as two flows, one each way; a direction without packets and bytes is no flow, and
    a record without any is skipped. A count that the exporter does not give is NULL, or left out of a sum with others.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, nfdump: str = "nfdump") -> None:
        """Take ``nfdump``, as :class:`Dumper` does."""
        self._connection = connection
        self._nfdump = nfdump

    def load(
        self,
        path: Path,
        check: Callable[[Path], None] | None = None,
        times: Times | None = None,
        begin: datetime | None = None,
    ) -> Loaded:
        """Fill the tables from one file. ``check`` gets the path, without links, of what was opened, and may raise.

        Flows outside of ``times`` are skipped; all are where ``begin``, the time in the file's name, is outside.

        Raises :class:`UnfinishedFileError` for a file that is still being written,
        :class:`dnsvigil.sources.netflow.nfdump.NFDumpLimitError` for one on which nfdump runs for too long,
        :class:`dnsvigil.system.files.NotAFileError` for what is none, and :class:`NFDumpError` where nothing can be
        said of the file now: it is gone, or nfdump is missing or was killed.
        """
        try:
            file = open_file(path)
        except NotAFileError:
            raise
        except OSError as error:
            raise NFDumpError(f"{path}: {error.strerror}") from error
        with file:
            if check:
                check(Path(f"/proc/self/fd/{file.fileno()}").readlink())
            _check_finished(path, file)
            return self._load(path, file, times, times.reason(begin) if times and begin else None)

    def _load(self, path: Path, file: BinaryIO, times: Times | None, refused: str | None) -> Loaded:
        size = os.fstat(file.fileno()).st_size
        dumper = Dumper(executable_path=self._nfdump, limits=Limits.for_size(size))
        dumper.set_where(filename=file.fileno())
        info, damage = _info(dumper)
        try:
            with dumper.stream() as stream:
                rows = self._sum_up(_Rows(_streamed(stream), times, refused))
        except (DamagedFileError, _UnknownFormError) as error:
            if isinstance(error, _UnknownFormError):
                logger.warning(
                    "%s: nfdump gives %s; reading its text output instead, which takes longer",
                    path,
                    error,
                )
            printed = _Printed(dumper)
            rows = self._sum_up(_Rows(printed.batches(), times, refused))
            damage = printed.damage or damage
        self._finish()
        return Loaded(info, damage, rows.flows, rows.skipped, bool(refused), rows.first, rows.last, rows.minutes)

    def close(self) -> None:
        """Drop the tables. The connection stays open."""
        self._drop(*_INTERMEDIATE, *_TABLES)

    def _sum_up(self, rows: "_Rows") -> "_Rows":
        """Sum all up into ``flow_sums`` and ``flow_services``; return the rows, which know how many they were."""
        self._drop(*_TABLES)
        ((threads,),) = self._connection.execute("SELECT current_setting('threads')").fetchall()
        self._connection.register("flow_rows", rows)
        # Each thread would have sums of its own, in memory of its own, and rows come no faster than from one.
        self._connection.execute("SET threads = 1")
        try:
            self._connection.execute(_SUMMED)
        finally:
            self._connection.execute(f"SET threads = {threads}")
            self._connection.unregister("flow_rows")
        if rows.error:
            raise rows.error
        self._connection.execute(_SERVICE_SUMS, rows.services())
        return rows

    def _finish(self) -> None:
        """Make the result of the sums."""
        self._connection.execute(_TALKERS)
        numbers = self._connection.execute(_NEW_ADDRESSES).fetchnumpy()
        packed = np.stack([numbers["high"], numbers["low"]], axis=1).astype(">u8").tobytes()
        text = [inet_ntop(AF_INET6, packed[at : at + 16]) for at in range(0, len(packed), 16)]
        self._connection.register("flow_addresses", numbers | {"address": np.array(text, object)})
        self._connection.execute(_RESULTS)
        self._connection.unregister("flow_addresses")
        self._drop(*_INTERMEDIATE)

    def _drop(self, *tables: str) -> None:
        for table in tables:
            self._connection.execute(f"DROP TABLE IF EXISTS temp.{table}")


def _check_finished(path: Path, file: BinaryIO) -> None:
    head = file.read(_HEADER.size)
    unfinished = path.name.startswith("nfcapd.current")
    if len(head) == _HEADER.size:
        magic, layout, *_, appendix, _, blocks = _HEADER.unpack(head)
        # They are written when the file is closed.
        unfinished |= (magic, layout, appendix, blocks) == (_MAGIC, 2, 0, 0)
    if unfinished:
        raise UnfinishedFileError(f"{path} is still being written")


def _info(dumper: Dumper) -> tuple[FlowInfo, str | None]:
    try:
        said = dumper.flow_stats()
    except DamagedFileError as error:
        return FlowInfo(), str(error)
    flows, ident = _count(said, "flows"), str(said.get("ident", ""))
    return FlowInfo(
        "" if ident == "none" else ident,
        flows,
        _count(said, "packets"),
        _count(said, "bytes"),
        _count(said, "sequence failures"),
        *(_when(said, name) if flows else None for name in ("first", "last")),
    ), None


def _count(said: Mapping[str, Any], name: str) -> int:
    """Return a count, whatever the file says: 0 for one that is none, and no more than a BIGINT holds."""
    value = said.get(name, 0)
    return min(max(value, 0), _LARGEST) if isinstance(value, int) else 0


def _when(said: Mapping[str, Any], name: str) -> datetime | None:
    try:
        when = datetime.fromtimestamp(said.get(name, 0), UTC)
        return when.replace(tzinfo=None, microsecond=1000 * said.get(f"msec_{name}", 0))
    except (TypeError, ValueError, OverflowError, OSError):
        return None  # whatever the file says


class _UnknownFormError(Exception):
    """nfdump writes something that is not known here."""


def _streamed(stream: IO[bytes]) -> Iterator[_Flows]:
    """Yield the records of what nfdump writes, many that have the same layout at a time."""
    header = stream.read(_HEADER.size)
    if not header:
        return  # nfdump says why
    if len(header) < _HEADER.size:
        raise _UnknownFormError("a short header")
    magic, layout, _, _, compression, encryption, *_ = _HEADER.unpack(header)
    if (magic, layout, compression, encryption) != (_MAGIC, 2, 0, 0):
        raise _UnknownFormError(f"layout {layout}, compression {compression}")
    sizes: set[int] = set()
    for records, count in _blocks(stream):
        yield from _records(records, count, sizes)


def _blocks(stream: IO[bytes]) -> Iterator[tuple[memoryview, int]]:
    """Yield the records of some blocks at a time, to be used before the next, and how many they are."""
    buffer = bytearray(_AT_ONCE)
    filled = records = 0
    while head := stream.read(_BLOCK.size):
        if _NOTHING.startswith(head):
            break
        if len(head) < _BLOCK.size:
            raise _UnknownFormError("half a block")
        count, size, kind, _ = _BLOCK.unpack(head)
        if kind not in (_DATA, _ARRAYS) or size > _LARGEST_BLOCK:
            raise _UnknownFormError(f"a block of type {kind} and of {size} bytes")
        if filled + size > len(buffer):
            if filled:
                yield memoryview(buffer)[:filled], records
                filled = records = 0
            if size > len(buffer):
                buffer = bytearray(size)
        if stream.readinto(memoryview(buffer)[filled : filled + size]) < size:  # type: ignore[attr-defined]
            raise _UnknownFormError("half a block")
        if kind == _DATA:
            filled += size
            records += count
    if filled:
        yield memoryview(buffer)[:filled], records


def _records(block: memoryview, count: int, sizes: set[int]) -> Iterator[_Flows]:
    """Yield the records of blocks; those that have the same elements in the same places are taken together."""
    starts = _starts(block, count, sizes)
    lengths = np.diff(starts, append=len(block))
    if (lengths < _HEAD).any():
        raise _UnknownFormError("a record shorter than its head")
    for size in np.flatnonzero(np.bincount(lengths)).tolist():
        records = _every(block, 1, f"V{size}")[starts[lengths == size]]
        while len(records):
            first = records[0].tobytes()
            known = int.from_bytes(first[:2], "little") == _RECORD
            elements = _elements(first) if known else {}
            alike = np.ones(len(records), bool)
            for at in (0, *(place - 4 for place in elements.values())):
                alike &= _every(records, size, "<u4", at) == int.from_bytes(first[at : at + 4], "little")
            flows, records = (records, records[:0]) if alike.all() else (records[alike], records[~alike])
            if known:
                yield _columns(flows, elements)


def _starts(block: memoryview, count: int, sizes: set[int]) -> NDArray[Any]:
    """Return where the records begin. ``sizes`` are those that records had so far; others are added."""
    # Mostly what looks like the head of a record is one: it is if each record begins where the one before it ends.
    heads = np.frombuffer(block, "<u4", len(block) // 4)
    likely = np.flatnonzero(
        reduce(or_, (heads == (size << 16 | _RECORD) for size in sizes), np.zeros(len(heads), bool))
    )
    starts = 4 * likely
    if len(starts) == count and np.array_equal(
        np.append(starts, len(block)), np.append(0, starts + (heads[likely] >> 16))
    ):
        return starts
    found = []
    at = 0
    try:
        for _ in range(count):
            found.append(at)
            at += block[at + 2] | block[at + 3] << 8
    except IndexError:
        at = -1
    if at != len(block):
        raise _UnknownFormError("a block whose records are not as long as it")
    starts = np.array(found, int)
    if len(sizes) < _MAX_SIZES:
        sizes.update(np.diff(starts, append=at).tolist())
    return starts


def _elements(record: bytes) -> dict[int, int]:
    """Return, by its type, where in the record each element's content begins."""
    found = {}
    at = _RECORD_HEADER
    for _ in range(int.from_bytes(record[4:6], "little")):
        kind, length = (int.from_bytes(record[at + i : at + i + 2], "little") for i in (0, 2))
        found[kind] = at + 4
        at += length
        if length < _LENGTHS.get(kind, 4) or at > len(record):
            raise _UnknownFormError("a record whose elements are not as long as it")
    return found


def _columns(records: NDArray[Any], elements: Mapping[int, int]) -> _Flows:
    """Return the fields of records that have their elements in these places."""
    size = records.dtype.itemsize
    fields = _FIELDS | (_FIELDS_BACK if _COUNTERS in elements else {})
    if _IPV6 not in elements:
        fields |= _FIELDS_IPV4
    flows = {
        name: np.array(_every(records, size, kind, elements[element] + at))
        if element in elements
        else np.zeros(len(records), kind)
        for name, (element, at, kind) in fields.items()
    }
    if _IPV6 not in elements:
        flows |= {name: flows[name] | _MAPPED for name in _FIELDS_IPV4}
    if _NSEL in elements and _COUNTERS not in elements:
        flows["unsplit"] = flows["packets"] == 0
    return flows


class _Printed:
    """The flows that nfdump prints, and ``damage``: what it says against the file when all have been read."""

    def __init__(self, dumper: Dumper) -> None:
        self.damage: str | None = None
        self._rows = dumper.search()
        # Text does not show which counters a record lacks; a firewall that has one for the way back uses it somewhere.
        self._unsplit = _has(dumper, "asa event > 0") and not _has(dumper, "out bytes > 0")

    def batches(self) -> Iterator[_Flows]:
        """Yield the rows, many at a time."""
        rows = self._read()
        while some := list(islice(rows, _ROWS_AT_ONCE)):
            flows = {
                "flows": np.array([row["flows"] for row in some], "u8"),
                "first": np.array([_time(row["first"]) for row in some], "u8"),
                "last": np.array([_time(row["last"]) for row in some], "u8"),
                "packets": np.array([row["packets"] for row in some], "u8"),
                "bytes": np.array([row["bytes"] for row in some], "u8"),
                "out_packets": np.array([row["out_packets"] for row in some], "u8"),
                "out_bytes": np.array([row["out_bytes"] for row in some], "u8"),
                "src_port": np.array([row["srcport"] for row in some], "u2"),
                "dst_port": np.array([row["dstport"] for row in some], "u2"),
                "proto": np.array([_number(row["prot"]) for row in some], "u1"),
            }
            if self._unsplit:
                flows["unsplit"] = flows["packets"] == 0
            for end in ("src", "dst"):
                addresses = [row["srcip"] if end == "src" else row["dstip"] for row in some]
                packed = b"".join(_FIRST_OF_MAPPED[: 16 - len(ip.packed)] + ip.packed for ip in addresses)
                halves = np.frombuffer(packed, ">u8").reshape(-1, 2).astype("u8")
                flows |= {f"{end}_high": halves[:, 0], f"{end}_low": halves[:, 1]}
            yield flows

    def _read(self) -> Iterator[Flow]:
        try:
            yield from self._rows
        except DamagedFileError as error:
            self.damage = str(error)


def _has(dumper: Dumper, query: str) -> bool:
    """Tell whether any flow is found; none is where nfdump does not know the filter."""
    try:
        return any(True for _ in dumper.search(query, limit=1))
    except NFDumpError:
        return False


def _time(when: datetime) -> int:
    """Return the milliseconds since the epoch of a local time, 0 for what is before."""
    try:
        return max(round(1000 * when.timestamp()), 0)
    except (OverflowError, ValueError):
        return 0


def _datetime(milliseconds: int) -> datetime | None:
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


def _milliseconds(when: datetime) -> int:
    return (when - _EPOCH) // timedelta(milliseconds=1)


def _number(protocol: str | int) -> int:
    return protocol if isinstance(protocol, int) else _NUMBERS[protocol]


class _Rows:
    """The flows as rows of ``flow_rows``, for DuckDB to take once; the sums by service are made on the way.

    A row has what one side of a connection sent and got. That of a DNS flow is its client, beside the server; any other
    flow is two rows, one for each of its ends, without a server or a port. ``error`` is what ended the flows early; it
    would lose its kind on its way through DuckDB.
    """

    def __init__(self, flows: Iterable[_Flows], times: Times | None, refused: str | None) -> None:
        self.flows = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.minutes: dict[datetime, int] = {}
        self._times = times
        self._refused = refused
        self.skipped: Counter[str] = Counter()
        self.error: BaseException | None = None
        self._source = flows
        self._sums = np.zeros((len(_COUNTS), len(PROTOCOLS) * len(SERVICES)))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Give the rows, as Arrow's PyCapsule interface has it."""
        reader = pa.RecordBatchReader.from_batches(_ROWS, read_ahead(self._batches()))
        return reader.__arrow_c_stream__(requested_schema)

    def services(self) -> dict[str, list[Any]]:
        """Return the columns of ``flow_services``."""
        found = np.flatnonzero(self._sums[0])
        protocols, services = np.divmod(found, len(SERVICES))
        # Of flows none has a count of 0, so a sum of 0 is one of counts that are unknown.
        return {
            "protocol": [PROTOCOLS[number] for number in protocols],
            "service": [list(SERVICES)[number] for number in services],
        } | {
            name: [min(int(value), _LARGEST) or None for value in sums[found]]
            for name, sums in zip(_COUNTS, self._sums, strict=True)
        }

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            for flows in self._source:
                described = self._timely(_described(flows))
                there = _carrying(described, "packets", "bytes")
                back = _carrying(described, "out_packets", "out_bytes")
                anything = there | back
                self.flows += int(described["flows"][anything].sum())
                if not anything.all():
                    self.skipped[NO_TRAFFIC] += int(described["flows"][~anything].sum())
                yield from self._take(_counted(described if there.all() else _chosen(described, there)))
                if back.any():
                    yield from self._take(_counted(_backwards(_chosen(described, back))))
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error

    def _timely(self, flows: dict[str, NDArray[Any]]) -> _Flows:
        """Return the flows whose time is right, and count the others by reason."""
        firsts, lasts = flows.pop("first"), flows.pop("last")
        ends = np.maximum(firsts, lasts)
        everything = np.ones(len(ends), bool)
        wrong = {self._refused: everything} if self._refused else self._times.wrong(ends) if self._times else {}
        right = everything
        for reason, skipped in wrong.items():
            if skipped.any():
                self.skipped[reason] += int(flows["flows"][skipped].sum())
                right = right & ~skipped
        self._note(firsts[right], ends[right])
        return flows if right.all() else _chosen(flows, right)

    def _note(self, firsts: NDArray[Any], ends: NDArray[Any]) -> None:
        """Take note of when flows began and ended, in milliseconds since the epoch; 0 is unknown."""
        firsts, ends = firsts[firsts > 0], ends[ends > 0]
        if len(firsts) and (first := _datetime(int(firsts.min()))):
            self.first = min(self.first or first, first)
        if not len(ends):
            return
        if last := _datetime(int(ends.max())):
            self.last = max(self.last or last, last)
        minutes = ends // _MINUTE
        low = minutes.min()
        if minutes.max() - low < _FEW_MINUTES:  # a sort takes far longer
            counts = np.bincount((minutes - low).astype("i8"))
            found = np.flatnonzero(counts)
            minutes, counts = found.astype("u8") + low, counts[found]
        else:
            minutes, counts = np.unique(minutes, return_counts=True)
        for minute, count in zip(minutes.tolist(), counts.tolist(), strict=True):
            if when := _datetime(minute * _MINUTE):
                self.minutes[when] = self.minutes.get(when, 0) + count

    def _take(self, flows: _Flows) -> Iterator[pa.RecordBatch]:
        """Count flows by service, and yield their rows."""
        size = self._sums.shape[1]
        self._sums += [np.bincount(flows["code"], flows[name], size) for name in _COUNTS]
        dns = flows["dns"]
        if dns.all():
            yield _pairs(flows)
        else:
            yield _pairs(_chosen(flows, dns))
            others = _chosen(flows, ~dns)
            yield _ends(others, "src", "query")
            yield _ends(others, "dst", "response")


def _described(flows: _Flows) -> dict[str, NDArray[Any]]:
    """Return the flows with what each record as a whole is.

    That is its ``protocol``, the ``code`` of protocol and service, and whether it is ``dns``, and a ``query``.
    """
    source, target = flows["src_port"], flows["dst_port"]
    ported = _PORTED.take(flows["proto"])
    if not ported.all():
        source, target = source * ported, target * ported
    protocol = _PROTOCOL.take(flows["proto"])
    of, to = _SERVICE.take(source), _SERVICE.take(target)
    query = _is_dns(target)
    return {
        **flows,
        "flows": np.clip(flows["flows"], np.uint64(1), _MOST),
        "protocol": protocol,
        "code": protocol * np.uint8(len(SERVICES)) + np.where(to < _OTHER, to, of),
        "query": query,
        "dns": (query | _is_dns(source)) & (protocol <= _DNS_PROTOCOLS),
    }


def _carrying(flows: _Flows, packets: str, octets: str) -> NDArray[np.bool_]:
    """Tell which flows carry anything in a direction."""
    if packets not in flows:
        return np.zeros(len(flows["flows"]), bool)
    return (flows[packets] > 0) | (flows[octets] > 0)


def _pairs(flows: _Flows) -> pa.RecordBatch:
    """Return the rows of DNS flows, which are queries, or else responses."""
    query = flows["query"]
    if "unsplit" in flows:  # of what is counted nobody knows which part goes which way
        flows = {**flows, **{name: flows[name] * ~flows["unsplit"] for name in ("packets", "bytes")}}
    port = np.where(query, flows["dst_port"], flows["src_port"]).astype("u4")
    return _batch(
        {
            f"{role}_{half}": np.where(query, flows[f"{of_query}_{half}"], flows[f"{of_response}_{half}"])
            for role, of_query, of_response in (("client", "src", "dst"), ("server", "dst", "src"))
            for half in ("high", "low")
        }
        | {"port_and_protocol": port << np.uint32(2) | flows["protocol"]}
        | ({"unsplit": flows["unsplit"]} if "unsplit" in flows else {})
        | {f"query_{name}": flows[name] * query for name in _COUNTS}
        | {f"response_{name}": flows[name] * ~query for name in _COUNTS}
    )


def _ends(flows: _Flows, end: str, kind: str) -> pa.RecordBatch:
    """Return the rows of one end of flows that are not DNS; ``kind`` is what they are for it, query or response."""
    return _batch(
        {f"client_{half}": flows[f"{end}_{half}"] for half in ("high", "low")}
        | {f"{kind}_{name}": flows[name] for name in _COUNTS}
    )


def _batch(columns: _Flows) -> pa.RecordBatch:
    """Return rows of these columns; those left out are 0."""
    rows = len(columns["client_low"])
    arrays = [
        pa.array(columns[field.name] if field.name in columns else np.zeros(rows, field.type.to_pandas_dtype()))
        for field in _ROWS
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=_ROWS)


def _is_dns(ports: NDArray[Any]) -> NDArray[np.bool_]:
    return reduce(or_, (ports == port for port in DNS_PORTS))


def _counted(flows: _Flows) -> _Flows:
    """Return the flows with their counts as they are added up: doubles, and none that cannot be."""
    return {**flows, **{name: np.minimum(flows[name], _MOST).astype(float) for name in _COUNTS}}


def _chosen(columns: _Flows, chosen: NDArray[np.bool_]) -> _Flows:
    places = np.flatnonzero(chosen)  # by the mask itself, ten times as slow where it changes at random
    return {name: column.take(places) for name, column in columns.items()}


def _backwards(flows: _Flows) -> _Flows:
    """Return the flows back, of records that have both directions: what answers a query is a response."""
    other = {"src": "dst", "dst": "src"}
    back = {f"{end}_{name}": flows[f"{other[end]}_{name}"] for end in other for name in ("high", "low", "port")}
    back |= {"packets": flows["out_packets"], "bytes": flows["out_bytes"], "query": ~flows["query"]}
    return back | {name: flows[name] for name in ("flows", "protocol", "code", "dns")}


def _every(buffer: memoryview | NDArray[Any], step: int, kind: str, first: int = 0) -> NDArray[Any]:
    """Return the things of this kind at every ``step`` bytes of a buffer."""
    each = np.dtype(kind)
    size = buffer.nbytes if isinstance(buffer, np.ndarray) else len(buffer)
    return np.ndarray((max((size - first - each.itemsize) // step + 1, 0),), each, buffer, first, (step,))
