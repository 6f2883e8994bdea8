"""A flow file into tables: services, DNS pairs and top talkers, in one pass over what nfdump reads.

nfdump reads and unpacks the file, whatever wrote it, and hands its records over as ``nfdump -w`` writes them; they are
summed up here, a quarter of a million at a time, and then by DuckDB. To have nfdump aggregate takes a pass for each
table, longer in all, and memory by the number of pairs; to have it print every flow takes several times as long. Where
the records are not of the form known here, or the file is damaged, they are still taken from what it prints.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from socket import AF_INET6, inet_ntop
from struct import Struct
from typing import IO, Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from dnsvigil.sources.netflow import DamagedFileError, Dumper, Flow, NFDumpError

logger = logging.getLogger(__name__)

PROTOCOLS: Final = ("tcp", "udp", "icmp", "other")
"""The protocols that are told apart; that of ICMPv6 is icmp."""

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
"""How many of those who send and get most are told."""


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
    flows: int  # that were read


_Columns = dict[str, NDArray[Any]]

_BATCH: Final = 1 << 18  # flows
_HELD: Final = 1 << 20  # sums that are held before they are handed to DuckDB, which can put them on disk
# Of a record; more is a mistake of the exporter. 400 Gbit/s carry as much in 90 seconds. So a batch, of which a block
# of nfdump can make a little more, stays below 2**63.
_MOST: Final = np.uint64(1 << 42)

# What nfdump 1.7 writes (its nffileV2.h and nfxV3.h): a header, then blocks of records, each of them a header and some
# elements.
_HEADER: Final = Struct("<HHIqBBHIqII")
_MAGIC: Final = 0xA50C
_LAYOUTS: Final = (1, 2)
_BLOCK: Final = Struct("<IIHH")
_DATA, _ARRAYS = 3, 4
_NOTHING: Final = b"No matching flows\n"  # which nfdump prints, wherever the records go
_RECORD: Final = 11
_RECORD_HEADER: Final = 12
_GENERIC, _IPV4, _IPV6, _COUNTERS = 1, 2, 3, 5
_LENGTHS: Final = {_GENERIC: 52, _IPV4: 12, _IPV6: 36, _COUNTERS: 28}
_MAPPED: Final = np.uint64(0xFFFF << 32)  # before an IPv4 address, as in RFC 4291
_FIRST_OF_MAPPED: Final = bytes(10) + b"\xff\xff"
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)

_PROTOCOL: Final = np.full(256, PROTOCOLS.index("other"), "u1")
_PROTOCOL[[6, 17, 1, 58]] = [PROTOCOLS.index(name) for name in ("tcp", "udp", "icmp", "icmp")]
_NUMBERS: Final = {"tcp": 6, "udp": 17, "icmp": 1, "ipv6-icmp": 58}
_OTHER: Final = len(SERVICES) - 1
_SERVICE: Final = np.full(65_536, _OTHER, "u1")
for _index, _ports in enumerate(SERVICES.values()):
    _SERVICE[list(_ports)] = _index
_IS_DNS: Final = np.isin(np.arange(65_536), DNS_PORTS)

_ENDS: Final = ("src_high", "src_low", "dst_high", "dst_low")
_SWAPPED: Final = ("dst_high", "dst_low", "src_high", "src_low")
_COUNTS: Final = ("flows", "packets", "bytes")
_PAIR: Final = ("client_high", "client_low", "server_high", "server_low", "port_and_protocol")
_PAIR_COUNTS: Final = tuple(f"{kind}_{count}" for kind in ("query", "response") for count in _COUNTS)

# Counts are signed: DuckDB adds those up in 64 bits where these are enough.
_PARTS: Final = """
CREATE OR REPLACE TEMP TABLE flow_service_parts (code UTINYINT, flows BIGINT, packets BIGINT, bytes BIGINT);
CREATE OR REPLACE TEMP TABLE flow_pair_parts (
    client_high UBIGINT, client_low UBIGINT, server_high UBIGINT, server_low UBIGINT, port_and_protocol UINTEGER,
    query_flows BIGINT, query_packets BIGINT, query_bytes BIGINT,
    response_flows BIGINT, response_packets BIGINT, response_bytes BIGINT
);
CREATE OR REPLACE TEMP TABLE flow_talker_parts (
    element UTINYINT, high UBIGINT, low UBIGINT, flows BIGINT, packets BIGINT, bytes BIGINT
);
"""


def _sums(counts: Sequence[str]) -> str:
    return ", ".join(f"least(sum({count}), {2**63 - 1})::BIGINT AS {count}" for count in counts)


_SUMMED: Final = f"""
CREATE OR REPLACE TEMP TABLE flow_pair_sums AS
    SELECT {", ".join(_PAIR)}, {_sums(_PAIR_COUNTS)} FROM flow_pair_parts GROUP BY ALL;
DROP TABLE flow_pair_parts;
CREATE OR REPLACE TEMP VIEW flow_talker_sums AS
    SELECT element, high, low, {_sums(_COUNTS)} FROM (
        FROM flow_talker_parts
        UNION ALL SELECT 0, client_high, client_low, query_flows, query_packets, query_bytes FROM flow_pair_sums
        UNION ALL SELECT 1, server_high, server_low, query_flows, query_packets, query_bytes FROM flow_pair_sums
        UNION ALL SELECT 0, server_high, server_low, response_flows, response_packets, response_bytes
            FROM flow_pair_sums
        UNION ALL SELECT 1, client_high, client_low, response_flows, response_packets, response_bytes
            FROM flow_pair_sums
    ) WHERE flows > 0 GROUP BY ALL;
CREATE OR REPLACE TEMP TABLE flow_greatest AS {
    " UNION ALL ".join(
        f"FROM (FROM flow_talker_sums WHERE element = {element} ORDER BY bytes DESC, high, low LIMIT {TALKERS})"
        for element in (0, 1)
    )
};
"""
_NEW_ADDRESSES: Final = """
SELECT DISTINCT high, low FROM (
    SELECT client_high AS high, client_low AS low FROM flow_pair_sums
    UNION ALL SELECT server_high, server_low FROM flow_pair_sums
    UNION ALL SELECT high, low FROM flow_greatest
) WHERE high > 0 OR low >> 32 != 65535
"""


def _address(prefix: str, name: str) -> str:
    low = f"{prefix}low"
    octets = ", ".join(f"{low} >> {shift} & 255" for shift in (24, 16, 8, 0))
    return f"coalesce({name}.address, concat_ws('.', {octets}))"


_RESULTS: Final = f"""
CREATE OR REPLACE TEMP TABLE flow_services AS
    SELECT {list(PROTOCOLS)}[code // {len(SERVICES)} + 1] AS protocol,
        {list(SERVICES)}[code % {len(SERVICES)} + 1] AS service, {_sums(_COUNTS)}
    FROM flow_service_parts GROUP BY ALL;
CREATE OR REPLACE TEMP TABLE flow_pairs AS
    SELECT {_address("client_", "c")} AS client, {_address("server_", "s")} AS server,
        (port_and_protocol >> 2)::USMALLINT AS server_port, {list(PROTOCOLS)}[(port_and_protocol & 3) + 1] AS proto,
        {", ".join(_PAIR_COUNTS)}, client_high, client_low, server_high, server_low
    FROM flow_pair_sums
    LEFT JOIN flow_addresses AS c ON c.high = client_high AND c.low = client_low
    LEFT JOIN flow_addresses AS s ON s.high = server_high AND s.low = server_low;
CREATE OR REPLACE TEMP TABLE flow_talkers AS
    SELECT ['srcip', 'dstip'][element + 1] AS element, {_address("g.", "a")} AS talker, flows, packets, bytes
    FROM flow_greatest AS g LEFT JOIN flow_addresses AS a ON a.high = g.high AND a.low = g.low;
DROP VIEW flow_talker_sums;
"""
_INTERMEDIATE: Final = (
    "flow_service_parts",
    "flow_talker_parts",
    "flow_pair_parts",
    "flow_pair_sums",
    "flow_greatest",
)
_TABLES: Final = ("flow_services", "flow_pairs", "flow_talkers")


def is_flow_file(path: Path) -> bool:
    """Tell by its first bytes whether a file is one of nfdump's. Raises :class:`OSError`."""
    with path.open("rb") as file:
        head = file.read(4)
    return int.from_bytes(head[:2], "little") == _MAGIC and int.from_bytes(head[2:], "little") in _LAYOUTS


class FlowReader:
    """Loads flow files, one after the other, into temporary tables of a connection.

    - ``flow_services``: ``protocol``, ``service``, ``flows``, ``packets``, ``bytes``.
    - ``flow_pairs``: one row for each ``client``, ``server``, ``server_port`` and ``proto``, with ``query_flows``,
      ``query_packets``, ``query_bytes``, ``response_flows``, ``response_packets``, ``response_bytes``; then the
      addresses as numbers, ``client_high`` and ``client_low``, 64 bits each, IPv4 mapped as in RFC 4291, and so the
      server's.
    - ``flow_talkers``: for each ``element`` of srcip and dstip the ``TALKERS`` with most bytes: ``talker``, ``flows``,
      ``packets``, ``bytes``.

    A record of both directions counts as two flows, one each way.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, nfdump: str = "nfdump") -> None:
        """Take ``nfdump``, the program or the folder that it is in."""
        self._connection = connection
        self._nfdump = nfdump
        self._adder = ThreadPoolExecutor(1, "flows")

    def load(self, path: Path) -> Loaded:
        """Fill the tables from one file.

        Raises :class:`UnfinishedFileError` for a file that is still being written, and :class:`NFDumpError` where
        nothing can be said of the file now: it is gone, or nfdump is missing or was killed.
        """
        _check_finished(path)
        dumper = Dumper(executable_path=self._nfdump)
        dumper.set_where(filename=path)
        info, damage = _info(dumper)
        try:
            with dumper.stream() as stream:
                flows = self._sum_up(_streamed(stream))
        except (DamagedFileError, _UnknownFormError) as error:
            if isinstance(error, _UnknownFormError):
                logger.warning("%s: nfdump gives %s; its text is read instead, which takes longer", path, error)
            printed = _Printed(dumper)
            flows = self._sum_up(printed.batches())
            damage = printed.damage or damage
        self._finish()
        return Loaded(info, damage, flows)

    def close(self) -> None:
        """Drop the tables. The connection stays open."""
        self._adder.shutdown()
        self._drop(*_INTERMEDIATE, *_TABLES)

    def _sum_up(self, batches: Iterable[_Columns]) -> int:
        """Sum all up into the tables of parts; return the number of flows."""
        self._drop(*_TABLES)
        self._connection.execute(_PARTS)
        pairs = _Sums(_PAIR, lambda sums: self._insert("flow_pair_parts", sums))
        talkers = _Sums(("element", "high", "low"), lambda sums: self._insert("flow_talker_parts", sums))

        def add(parts: Sequence[_Columns]) -> None:
            if not parts:
                return
            batch = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            dns = _IS_DNS[batch["dst_port"]] | _IS_DNS[batch["src_port"]]
            self._insert("flow_service_parts", _services(batch))
            pairs.add(_pairs({name: column[dns] for name, column in batch.items()}))
            talkers.add(_talkers({name: column[~dns] for name, column in batch.items()}))

        total = rows = 0
        pending: list[_Columns] = []
        # One thread reads while another adds; neither is ever more than a batch ahead.
        added = self._adder.submit(add, [])
        try:
            for batch in batches:
                total += int(batch["flows"].sum())
                rows += len(batch["flows"])
                pending += _one_way(batch)
                if rows >= _BATCH:
                    added.result()
                    added = self._adder.submit(add, pending)
                    pending, rows = [], 0
        finally:
            added.result()
        self._adder.submit(add, pending).result()
        pairs.hand_over()
        talkers.hand_over()
        return total

    def _insert(self, table: str, columns: _Columns) -> None:
        self._connection.register("flow_batch", columns)
        self._connection.execute(f"INSERT INTO {table} BY NAME FROM flow_batch")
        self._connection.unregister("flow_batch")

    def _finish(self) -> None:
        """Make the result of the parts."""
        self._connection.execute(_SUMMED)
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


def _check_finished(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
    except OSError as error:
        raise NFDumpError(f"{path}: {error.strerror}") from error
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
    flows, ident = int(said.get("flows", 0)), str(said.get("ident", ""))
    return FlowInfo(
        "" if ident == "none" else ident,
        flows,
        int(said.get("packets", 0)),
        int(said.get("bytes", 0)),
        int(said.get("sequence failures", 0)),
        *(_when(said, name) if flows else None for name in ("first", "last")),
    ), None


def _when(said: Mapping[str, Any], name: str) -> datetime | None:
    try:
        when = datetime.fromtimestamp(said.get(name, 0), UTC)
        return when.replace(tzinfo=None, microsecond=1000 * said.get(f"msec_{name}", 0))
    except (TypeError, ValueError, OverflowError, OSError):
        return None  # whatever the file says


class _UnknownFormError(Exception):
    """nfdump writes something that is not known here."""


def _streamed(stream: IO[bytes]) -> Iterator[_Columns]:
    """Yield the records of what nfdump writes, a block or a part of one at a time."""
    header = stream.read(_HEADER.size)
    if not header:
        return  # nfdump says why
    if len(header) < _HEADER.size:
        raise _UnknownFormError("a short header")
    magic, layout, _, _, compression, encryption, *_ = _HEADER.unpack(header)
    if (magic, layout, compression, encryption) != (_MAGIC, 2, 0, 0):
        raise _UnknownFormError(f"layout {layout}, compression {compression}")
    while head := stream.read(_BLOCK.size):
        if _NOTHING.startswith(head):
            return
        if len(head) < _BLOCK.size:
            raise _UnknownFormError("half a block")
        count, size, kind, _ = _BLOCK.unpack(head)
        block = stream.read(size)
        if kind == _DATA:
            yield from _records(block, count)
        elif kind != _ARRAYS:
            raise _UnknownFormError(f"blocks of type {kind}")


def _records(block: bytes, count: int) -> Iterator[_Columns]:
    """Yield the records of a block; those that have the same elements in the same places are taken together."""
    starts = _starts(block, count)
    heads = _anywhere(block, "<u4")
    starts = starts[_anywhere(block, "<u2")[starts] == _RECORD]
    while len(starts):
        elements = _elements(block, int(starts[0]))
        alike = np.ones(len(starts), bool)
        for at, head in [(0, heads[starts[0]]), *((at - 4, heads[starts[0] + at - 4]) for at in elements.values())]:
            alike[alike] = heads[starts[alike] + at] == head
        yield _columns(block, starts[alike], elements)
        starts = starts[~alike]


def _starts(block: bytes, count: int) -> NDArray[Any]:
    """Return where the records begin."""
    size = int.from_bytes(block[2:4], "little")
    if size and count * size == len(block):
        starts = np.arange(0, len(block), size)
        if (_anywhere(block, "<u2")[starts + 2] == size).all():
            return starts
    # Of several lengths, mostly whole fours of bytes: what looks like a record is one if the next begins at its end.
    heads = np.frombuffer(block, "<u4", len(block) // 4)
    likely = np.flatnonzero((heads & 0xFFFF == _RECORD) & (heads >> 16 >= _RECORD_HEADER))
    sizes = heads[likely] >> 16
    often = np.bincount(sizes)[sizes] > count // 100  # the others mostly are times or ports
    starts, sizes = np.asarray(4 * likely[often]), sizes[often]
    if len(starts) == count and np.array_equal(np.append(starts, len(block)), np.append(0, starts + sizes)):
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
    return np.array(found)


def _elements(block: bytes, start: int) -> dict[int, int]:
    """Return, by its type, where in the record each element's content begins."""
    size, count = (int.from_bytes(block[start + at : start + at + 2], "little") for at in (2, 4))
    found = {}
    at = _RECORD_HEADER
    for _ in range(count):
        kind, length = (int.from_bytes(block[start + at + i : start + at + i + 2], "little") for i in (0, 2))
        found[kind] = at + 4
        at += length
        if length < _LENGTHS.get(kind, 4) or at > size:
            raise _UnknownFormError("a record whose elements are not as long as it")
    return found


def _columns(block: bytes, starts: NDArray[Any], elements: dict[int, int]) -> _Columns:
    """Return what is wanted of records that have their elements in the same places."""

    def field(element: int, at: int, kind: str) -> NDArray[Any]:
        if element not in elements:
            return np.zeros(len(starts), kind)
        found: NDArray[Any] = _anywhere(block, kind)[starts + (elements[element] + at)]
        return found

    columns = {
        "packets": field(_GENERIC, 24, "<u8"),
        "bytes": field(_GENERIC, 32, "<u8"),
        "src_port": field(_GENERIC, 40, "<u2"),
        "dst_port": field(_GENERIC, 42, "<u2"),
        "proto": field(_GENERIC, 44, "u1"),
        "flows": np.maximum(field(_COUNTERS, 0, "<u8"), np.uint64(1)),
        "out_packets": field(_COUNTERS, 8, "<u8"),
        "out_bytes": field(_COUNTERS, 16, "<u8"),
    }
    new = _IPV6 in elements
    for end, at in (("src", 0), ("dst", 1)):
        low = field(_IPV6, 16 * at + 8, "<u8") if new else field(_IPV4, 4 * at, "<u4") | _MAPPED
        columns |= {f"{end}_high": field(_IPV6, 16 * at, "<u8"), f"{end}_low": low}
    return columns


def _anywhere(block: bytes, kind: str) -> NDArray[Any]:
    """Return the number at each byte of the block, as of this type."""
    each = np.dtype(kind)
    return np.ndarray((max(len(block) - each.itemsize + 1, 0),), each, block, 0, (1,))


class _Printed:
    """The flows that nfdump prints, and ``damage``: what it says against the file when all have been read."""

    def __init__(self, dumper: Dumper) -> None:
        self.damage: str | None = None
        self._rows = dumper.search()

    def batches(self) -> Iterator[_Columns]:
        """Yield the rows, many at a time."""
        rows = self._read()
        while some := list(islice(rows, 50_000)):
            columns = {
                "flows": np.array([row["flows"] for row in some], "u8"),
                "packets": np.array([row["packets"] for row in some], "u8"),
                "bytes": np.array([row["bytes"] for row in some], "u8"),
                "proto": np.array([_NUMBERS.get(str(row["prot"]), 255) for row in some], "u1"),
                "src_port": np.array([row["srcport"] for row in some], "u2"),
                "dst_port": np.array([row["dstport"] for row in some], "u2"),
                "out_packets": np.zeros(len(some), "u8"),
                "out_bytes": np.zeros(len(some), "u8"),
            }
            for end in ("src", "dst"):
                addresses = [row["srcip"] if end == "src" else row["dstip"] for row in some]
                packed = b"".join(_FIRST_OF_MAPPED[: 16 - len(ip.packed)] + ip.packed for ip in addresses)
                halves = np.frombuffer(packed, ">u8").astype("u8").reshape(-1, 2)
                columns |= {f"{end}_high": halves[:, 0], f"{end}_low": halves[:, 1]}
            yield columns

    def _read(self) -> Iterator[Flow]:
        try:
            yield from self._rows
        except DamagedFileError as error:
            self.damage = str(error)


def _one_way(batch: _Columns) -> list[_Columns]:
    """Return flows of one direction each, with counts that are possible."""
    for name in (*_COUNTS, "out_packets", "out_bytes"):
        batch[name] = np.minimum(batch[name], _MOST)
    out_packets, out_bytes = batch.pop("out_packets"), batch.pop("out_bytes")
    both = out_packets > 0
    if not both.any():
        return [batch]
    back = dict(zip((*_SWAPPED, "src_port", "dst_port"), (*_ENDS, "dst_port", "src_port"), strict=True))
    reverse = {name: batch[back.get(name, name)][both] for name in batch}
    return [batch, reverse | {"packets": out_packets[both], "bytes": out_bytes[both]}]


def _services(flows: _Columns) -> _Columns:
    to, of = _SERVICE[flows["dst_port"]], _SERVICE[flows["src_port"]]
    code = _PROTOCOL[flows["proto"]] * np.uint8(len(SERVICES)) + np.where(to < _OTHER, to, of)
    sums = {name: np.bincount(code, flows[name]).astype("i8") for name in _COUNTS}
    found = np.flatnonzero(sums["flows"])
    return {"code": found} | {name: column[found] for name, column in sums.items()}


def _pairs(flows: _Columns) -> _Columns:
    """Return clients and servers of flows on DNS ports, and to which of their sums they count."""
    query = _IS_DNS[flows["dst_port"]]
    pairs = {
        name: np.where(query, flows[of_query], flows[of_response])
        for name, of_query, of_response in zip(_PAIR[:4], _ENDS, _SWAPPED, strict=True)
    }
    port = np.where(query, flows["dst_port"], flows["src_port"]).astype("u4")
    pairs["port_and_protocol"] = port << np.uint32(2) | _PROTOCOL[flows["proto"]]
    for name in _COUNTS:
        pairs[f"query_{name}"] = flows[name] * query
        pairs[f"response_{name}"] = flows[name] * ~query
    return pairs


def _talkers(flows: _Columns) -> _Columns:
    """Return who sends (element 0) and who gets (1) each flow."""
    size = len(flows["flows"])
    return {
        "element": np.repeat(np.array([0, 1], "u1"), size),
        "high": np.concatenate([flows["src_high"], flows["dst_high"]]),
        "low": np.concatenate([flows["src_low"], flows["dst_low"]]),
    } | {name: np.tile(flows[name], 2) for name in _COUNTS}


class _Sums:
    """Sums of rows with the same keys, held in little memory: what is more is handed over."""

    def __init__(self, keys: Sequence[str], take: Callable[[_Columns], None]) -> None:
        self._keys = keys
        self._take = take
        self._parts: list[_Columns] = []

    def add(self, rows: _Columns) -> None:
        """Add rows; the columns that are no keys are counts."""
        self._parts.append(self._grouped([rows]))
        if self._size() > _HELD:
            self._parts = [self._grouped(self._parts)]
            if self._size() > _HELD // 2:
                self.hand_over()

    def hand_over(self) -> None:
        """Hand over all; rows with the same keys may still come more than once."""
        self._parts, parts = [], self._parts
        if parts:
            self._take(self._grouped(parts))

    def _size(self) -> int:
        return sum(len(part[self._keys[0]]) for part in self._parts)

    def _grouped(self, parts: Sequence[_Columns]) -> _Columns:
        def column(name: str) -> NDArray[Any]:
            return np.concatenate([part[name] for part in parts]) if len(parts) > 1 else parts[0][name]

        hashes: NDArray[Any] = np.zeros(1, "u8")
        for name in self._keys:
            hashes = (hashes ^ column(name)) * _MULTIPLIER
            hashes ^= hashes >> np.uint64(32)
        # One number is sorted much faster than several; keys that have the same may lie mixed.
        order = np.argsort(hashes)
        del hashes
        new = np.zeros(len(order), bool)
        new[:1] = True
        for name in self._keys:
            key = column(name)[order]
            new[1:] |= key[1:] != key[:-1]
        first = np.flatnonzero(new)
        return {
            name: column(name)[order[first]] if name in self._keys else np.add.reduceat(column(name)[order], first)
            for name in parts[0]
            if len(first)
        } or parts[0]
