"""Flows as the rows that DuckDB sums up, and their sums by service."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from dnsvigil.sources.netflow.services import (
    HAS_PORTS,
    OTHER,
    PROTOCOL_OF_NUMBER,
    PROTOCOLS,
    SERVICE_OF_PORT,
    SERVICES,
    is_dns_port,
)
from dnsvigil.sources.netflow.stream import Columns
from dnsvigil.sources.netflow.times import Times, from_milliseconds
from dnsvigil.sources.read_ahead import read_ahead

if TYPE_CHECKING:
    import pyarrow as pa

NO_TRAFFIC: Final = "no_traffic"
"""The reason to skip a flow without packets and bytes in any direction: it reports an event."""

COUNTS: Final = ("flows", "packets", "bytes")

PAIR: Final = ("client_high", "client_low", "server_high", "server_low", "port_and_protocol")
"""The columns that identify a pair; the last has the server's port, and in two bits the index of the protocol."""

PAIR_COUNTS: Final = tuple(f"{way}_{count}" for way in ("query", "response") for count in COUNTS)

MAX_SUM: Final = 2**63 - 1024
"""The largest sum: the next double is too large for a BIGINT."""

# Of a record; more is a mistake of the exporter. 400 Gbit/s carry as much in 90 seconds.
_MAX_COUNT: Final = np.uint64(1 << 42)
_MINUTE: Final = 60_000  # milliseconds
_FEW_MINUTES: Final = 1 << 16
_MIN_FLOWS: Final = 100  # that show whether packets are sampled
_MULTIPLES: Final = 0.9
_NO_COUNTS: Final = np.zeros(0, "u8")
_DNS_PROTOCOLS: Final = PROTOCOLS.index("udp")  # and those before it


class FlowRows:
    """The flows as rows, for DuckDB to read once; the sums by service are made on the way.

    A row counts what one end of a connection sent and received: the client of a DNS flow, beside its server. Any other
    flow is two rows, one for each end, without a server or a port. ``error`` is what ended the flows early: DuckDB
    would raise an exception of its own.
    """

    def __init__(self, flows: Iterable[Columns], times: Times | None, refused: str | None) -> None:
        """Take the flows that are within ``times``; with ``refused`` all are skipped for that reason."""
        self.flows = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.minutes: dict[datetime, int] = {}
        self.sampling: int | None = None
        """One packet in so many was sampled, as far as the counts show it; None with few flows."""
        self._times = times
        self._refused = refused
        self.skipped: Counter[str] = Counter()
        self.error: BaseException | None = None
        self._source = flows
        self._sums = np.zeros((len(COUNTS), len(PROTOCOLS) * len(SERVICES)))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the rows as a stream of Arrow's PyCapsule interface."""
        import pyarrow as pa  # 20 MB that a collector without flows does not need

        reader = pa.RecordBatchReader.from_batches(_schema(), read_ahead(self._batches()))
        return reader.__arrow_c_stream__(requested_schema)

    def services(self) -> dict[str, list[Any]]:
        """Return the columns of ``flow_services``."""
        found = np.flatnonzero(self._sums[0])
        protocols, services = np.divmod(found, len(SERVICES))
        # No flow has a count of 0, so a sum of 0 is a sum of unknown counts.
        return {
            "protocol": [PROTOCOLS[number] for number in protocols],
            "service": [list(SERVICES)[number] for number in services],
        } | {
            name: [min(int(value), MAX_SUM) or None for value in sums[found]]
            for name, sums in zip(COUNTS, self._sums, strict=True)
        }

    def _batches(self) -> "Iterator[pa.RecordBatch]":
        try:
            for flows in self._source:
                described = self._timely(_describe(flows))
                there = _carrying(described, "packets", "bytes")
                self.sampling = self.sampling or sampling_of(described.get("packets", _NO_COUNTS))
                back = _carrying(described, "out_packets", "out_bytes")
                anything = there | back
                self.flows += int(described["flows"][anything].sum())
                if not anything.all():
                    self.skipped[NO_TRAFFIC] += int(described["flows"][~anything].sum())
                yield from self._take(_capped(described if there.all() else _choose(described, there)))
                if back.any():
                    yield from self._take(_capped(_reverse(_choose(described, back))))
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error

    def _timely(self, flows: dict[str, NDArray[Any]]) -> Columns:
        """Return the flows whose time is good, and count the others by reason."""
        firsts, lasts = flows.pop("first"), flows.pop("last")
        ends = np.maximum(firsts, lasts)
        everything = np.ones(len(ends), bool)
        by_reason = {self._refused: everything} if self._refused else self._times.skipped(ends) if self._times else {}
        good = everything
        for reason, skipped in by_reason.items():
            if skipped.any():
                self.skipped[reason] += int(flows["flows"][skipped].sum())
                good = good & ~skipped
        self._add_times(firsts[good], ends[good])
        return flows if good.all() else _choose(flows, good)

    def _add_times(self, firsts: NDArray[Any], ends: NDArray[Any]) -> None:
        """Add the times when flows began and ended, in milliseconds since the epoch; 0 is unknown."""
        firsts, ends = firsts[firsts > 0], ends[ends > 0]
        if len(firsts) and (first := from_milliseconds(int(firsts.min()))):
            self.first = min(self.first or first, first)
        if not len(ends):
            return
        if last := from_milliseconds(int(ends.max())):
            self.last = max(self.last or last, last)
        minutes = ends // _MINUTE
        low = minutes.min()
        if minutes.max() - low < _FEW_MINUTES:  # np.unique sorts, which takes far longer
            counts = np.bincount((minutes - low).astype("i8"))
            found = np.flatnonzero(counts)
            minutes, counts = found.astype("u8") + low, counts[found]
        else:
            minutes, counts = np.unique(minutes, return_counts=True)
        for minute, count in zip(minutes.tolist(), counts.tolist(), strict=True):
            if when := from_milliseconds(minute * _MINUTE):
                self.minutes[when] = self.minutes.get(when, 0) + count

    def _take(self, flows: Columns) -> "Iterator[pa.RecordBatch]":
        """Count flows by service, and yield their rows."""
        size = self._sums.shape[1]
        self._sums += [np.bincount(flows["code"], flows[name], size) for name in COUNTS]
        dns = flows["dns"]
        if dns.all():
            yield _pairs(flows)
        else:
            yield _pairs(_choose(flows, dns))
            others = _choose(flows, ~dns)
            yield _ends(others, "src", "query")
            yield _ends(others, "dst", "response")


def sampling_of(packets: NDArray[Any]) -> int | None:
    """Return how many packets one sampled packet stands for, 1 where they are not sampled; None of few flows.

    Whoever knows the rate multiplies the counts by it, so that nearly all are multiples of the commonest.
    """
    known = packets[packets > 0]
    if len(known) < _MIN_FLOWS:
        return None
    values, counts = np.unique(known, return_counts=True)
    commonest = int(values[counts.argmax()])
    return commonest if np.mean(known % commonest == 0) >= _MULTIPLES else 1


def _describe(flows: Columns) -> dict[str, NDArray[Any]]:
    """Return the flows with the ``protocol`` of each, the ``code`` of protocol and service, ``dns`` and ``query``."""
    source, target = flows["src_port"], flows["dst_port"]
    ported = HAS_PORTS.take(flows["proto"])
    if not ported.all():
        source, target = source * ported, target * ported
    protocol = PROTOCOL_OF_NUMBER.take(flows["proto"])
    of, to = SERVICE_OF_PORT.take(source), SERVICE_OF_PORT.take(target)
    query = is_dns_port(target)
    return {
        **flows,
        "flows": np.clip(flows["flows"], np.uint64(1), _MAX_COUNT),
        "protocol": protocol,
        "code": protocol * np.uint8(len(SERVICES)) + np.where(to < OTHER, to, of),
        "query": query,
        "dns": (query | is_dns_port(source)) & (protocol <= _DNS_PROTOCOLS),
    }


def _carrying(flows: Columns, packets: str, octets: str) -> NDArray[np.bool_]:
    """Return which flows carry anything in a direction."""
    if packets not in flows:
        return np.zeros(len(flows["flows"]), bool)
    return (flows[packets] > 0) | (flows[octets] > 0)


def _pairs(flows: Columns) -> "pa.RecordBatch":
    """Return the rows of DNS flows, which are queries, or else responses."""
    query = flows["query"]
    if "unsplit" in flows:  # nobody knows which part of the counts goes which way
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
        | {f"query_{name}": flows[name] * query for name in COUNTS}
        | {f"response_{name}": flows[name] * ~query for name in COUNTS}
    )


def _ends(flows: Columns, end: str, way: str) -> "pa.RecordBatch":
    """Return the rows of one end of flows that are not DNS; ``way`` is what they are for it, query or response."""
    return _batch(
        {f"client_{half}": flows[f"{end}_{half}"] for half in ("high", "low")}
        | {f"{way}_{name}": flows[name] for name in COUNTS}
    )


def _batch(columns: Columns) -> "pa.RecordBatch":
    """Return rows of these columns; those left out are 0."""
    import pyarrow as pa

    rows = len(columns["client_low"])
    arrays = [
        pa.array(columns[field.name] if field.name in columns else np.zeros(rows, field.type.to_pandas_dtype()))
        for field in _schema()
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=_schema())


def _capped(flows: Columns) -> Columns:
    """Return the flows with their counts as doubles, none above what a record can count."""
    return {**flows, **{name: np.minimum(flows[name], _MAX_COUNT).astype(float) for name in COUNTS}}


def _choose(columns: Columns, chosen: NDArray[np.bool_]) -> Columns:
    places = np.flatnonzero(chosen)  # indexing with the mask takes ten times as long where it changes at random
    return {name: column.take(places) for name, column in columns.items()}


def _reverse(flows: Columns) -> Columns:
    """Return the way back of flows that count both directions: the way back of a query is a response."""
    other = {"src": "dst", "dst": "src"}
    back = {f"{end}_{name}": flows[f"{other[end]}_{name}"] for end in other for name in ("high", "low", "port")}
    back |= {"packets": flows["out_packets"], "bytes": flows["out_bytes"], "query": ~flows["query"]}
    return back | {name: flows[name] for name in ("flows", "protocol", "code", "dns")}


@cache
def _schema() -> "pa.Schema":
    import pyarrow as pa

    # Counts are added up as doubles, as exact as whole numbers up to 2**53: DuckDB holds sums of 64 bits in 128.
    return pa.schema(
        {
            **dict.fromkeys(PAIR, pa.uint64()),
            "port_and_protocol": pa.uint32(),
            **dict.fromkeys(PAIR_COUNTS, pa.float64()),
            "unsplit": pa.bool_(),
        }
    )
