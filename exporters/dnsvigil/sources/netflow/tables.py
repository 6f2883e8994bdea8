"""A flow file into tables: services, DNS pairs and top talkers, in one pass of nfdump.

nfdump reads and decompresses the file, whatever wrote it, and writes its records as ``nfdump -w`` does. They become
columns, a block at a time, which DuckDB sums up while the next block is read:

    stream: blocks of records ─ columns of one layout ─┬─ rows: DNS pairs, and the ends of all other flows ─ DuckDB
                                                       └─ sums by service

Aggregation by nfdump takes a pass for each table, longer in all, and memory by the number of pairs; printing every flow
takes several times as long. Only where the records are in an unknown form, or the file is damaged, are the flows read
from what nfdump prints.
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from socket import AF_INET6, inet_ntop
from typing import Any, BinaryIO, Final

import duckdb
import numpy as np

from dnsvigil.sources.netflow.dumper import Dumper
from dnsvigil.sources.netflow.flow_file import check_finished
from dnsvigil.sources.netflow.printed import PrintedFlows
from dnsvigil.sources.netflow.process import DamagedFileError, Limits, NFDumpError
from dnsvigil.sources.netflow.rows import COUNTS, MAX_SUM, PAIR, PAIR_COUNTS, FlowRows
from dnsvigil.sources.netflow.services import PROTOCOLS
from dnsvigil.sources.netflow.stream import UnknownFormError, read_stream
from dnsvigil.sources.netflow.times import Times
from dnsvigil.system.files import NotAFileError, open_file

logger = logging.getLogger(__name__)

TALKERS: Final = 10
"""How many top senders and receivers are kept."""


@dataclass(frozen=True)
class FlowInfo:
    """What a flow file reports of itself: sums, and times in UTC without a zone, None where it has no flow."""

    ident: str = ""  # of the exporter; empty where it has none
    flows: int = 0
    packets: int = 0
    bytes: int = 0
    sequence_failures: int = 0
    first: datetime | None = None
    last: datetime | None = None


@dataclass(frozen=True)
class Loaded:
    """What :meth:`FlowReader.load` found; ``damage`` is nfdump's message against the file, None for a sound one."""

    info: FlowInfo
    damage: str | None
    flows: int  # read, each record once, whether it counts one direction or both
    skipped: Mapping[str, int] = field(default_factory=dict)  # flows that were not read, by reason
    refused: bool = False  # whether all flows are skipped for the time in the file's name
    first: datetime | None = None  # start of the first flow with a good time, UTC; None where no flow has a time
    last: datetime | None = None  # end of the last flow
    minutes: Mapping[datetime, int] = field(default_factory=dict)  # how many flows end in each minute
    sampling: int | None = None  # as that of FlowRows


def _sums(ways: Iterable[str], unsplit: str) -> str:
    """Return the sums of the counts of these ways, such as ``query``.

    No flow has a count of 0, so a sum of 0 is unknown where there are flows, or some are ``unsplit``.
    """
    sums = []
    for way in ways:
        for count in COUNTS:
            flows = f"sum({way}_flows) > 0" if count != "flows" else "false"
            total = f"sum({way}_{count}::DOUBLE)"
            sums.append(
                f"CASE WHEN {total} > {MAX_SUM} THEN {MAX_SUM} WHEN {total} > 0 THEN {total}"
                f" WHEN {flows} OR {unsplit} THEN NULL ELSE 0 END::BIGINT AS {way}_{count}"
            )
    return ", ".join(sums)


_SENT: Final = tuple(f"sent_{count}" for count in COUNTS)
_GOT: Final = tuple(f"got_{count}" for count in COUNTS)

# A flow that is not DNS is two rows, one for each end: as if that were a client that sends queries and gets responses.
_SUMMED: Final = f"""
CREATE OR REPLACE TEMP TABLE flow_sums AS
    SELECT {", ".join(PAIR)}, {_sums(("query", "response"), "bool_or(unsplit)")},
        bool_or(query_flows > 0 AND query_packets = 0 OR response_flows > 0 AND response_packets = 0) AS uncounted,
        bool_or(unsplit) AS unsplit
    FROM flow_rows GROUP BY ALL
"""
_TALKERS: Final = f"""
CREATE OR REPLACE TEMP TABLE flow_talker_sums AS
    SELECT high, low, {_sums(("sent", "got"), "false")} FROM (
        SELECT client_high, client_low, {", ".join(PAIR_COUNTS)} FROM flow_sums
        UNION ALL SELECT server_high, server_low, {", ".join((*PAIR_COUNTS[3:], *PAIR_COUNTS[:3]))} FROM flow_sums
            WHERE port_and_protocol > 0
    ) AS ends(high, low, {", ".join((*_SENT, *_GOT))}) GROUP BY ALL;
CREATE OR REPLACE TEMP TABLE flow_greatest AS {
    " UNION ALL ".join(
        f"(SELECT '{element}' AS element, high, low, {', '.join(f'{way}_{count} AS {count}' for count in COUNTS)}"
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
        {", ".join(PAIR_COUNTS)}, uncounted, unsplit, client_high, client_low, server_high, server_low
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
        """Fill the tables from one file. ``check`` gets the path, without links, of the opened file, and may raise.

        Flows outside of ``times`` are skipped; all flows are where ``begin``, the time in the file's name, is outside.

        Raises :class:`dnsvigil.sources.netflow.flow_file.UnfinishedFileError` for a file that is still being written,
        :class:`dnsvigil.sources.netflow.process.NFDumpLimitError` for one on which nfdump runs for too long,
        :class:`dnsvigil.system.files.NotAFileError` for what is no regular file, and :class:`NFDumpError` where the
        file cannot be read now: it is gone, or nfdump is missing or was killed.
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
            check_finished(path, file)
            return self._load(path, file, times, times.reason(begin) if times and begin else None)

    def _load(self, path: Path, file: BinaryIO, times: Times | None, refused: str | None) -> Loaded:
        size = os.fstat(file.fileno()).st_size
        dumper = Dumper(executable_path=self._nfdump, limits=Limits.for_size(size))
        dumper.set_where(filename=file.fileno())
        info, damage = _info(dumper)
        try:
            with dumper.stream() as stream:
                rows = self._sum_up(FlowRows(read_stream(stream), times, refused))
        except (DamagedFileError, UnknownFormError) as error:
            if isinstance(error, UnknownFormError):
                logger.warning(
                    "%s: nfdump gives %s; reading its text output instead, which takes longer",
                    path,
                    error,
                )
            printed = PrintedFlows(dumper)
            rows = self._sum_up(FlowRows(printed.batches(), times, refused))
            damage = printed.damage or damage
        self._finish()
        return Loaded(
            info, damage, rows.flows, rows.skipped, bool(refused), rows.first, rows.last, rows.minutes, rows.sampling
        )

    def close(self) -> None:
        """Drop the tables. The connection stays open."""
        self._drop(*_INTERMEDIATE, *_TABLES)

    def _sum_up(self, rows: "FlowRows") -> "FlowRows":
        """Sum the rows up into ``flow_sums`` and ``flow_services``, and return them."""
        self._drop(*_TABLES)
        ((threads,),) = self._connection.execute("SELECT current_setting('threads')").fetchall()
        self._connection.register("flow_rows", rows)
        # Each thread would need memory for sums of its own, and one thread keeps up with the rows.
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
        """Make ``flow_pairs`` and ``flow_talkers`` from the sums."""
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


def _info(dumper: Dumper) -> tuple[FlowInfo, str | None]:
    try:
        reported = dumper.flow_stats()
    except DamagedFileError as error:
        return FlowInfo(), str(error)
    flows, ident = _count(reported, "flows"), str(reported.get("ident", ""))
    return FlowInfo(
        "" if ident == "none" else ident,
        flows,
        _count(reported, "packets"),
        _count(reported, "bytes"),
        _count(reported, "sequence failures"),
        *(_when(reported, name) if flows else None for name in ("first", "last")),
    ), None


def _count(reported: Mapping[str, Any], name: str) -> int:
    """Return a count from an untrusted file: 0 for one that is no number, and no more than a BIGINT holds."""
    value = reported.get(name, 0)
    return min(max(value, 0), MAX_SUM) if isinstance(value, int) else 0


def _when(reported: Mapping[str, Any], name: str) -> datetime | None:
    try:
        when = datetime.fromtimestamp(reported.get(name, 0), UTC)
        return when.replace(tzinfo=None, microsecond=1000 * reported.get(f"msec_{name}", 0))
    except (TypeError, ValueError, OverflowError, OSError):
        return None  # the file is not to be trusted
