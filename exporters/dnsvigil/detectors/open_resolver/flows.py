"""Reads what flows show: the own hosts that answer the outside from port 53, and what they ask others."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final

from dnsvigil.detectors.open_resolver.traffic import DAY, FLOWS, RECENT, SLOT, Counts, Seen
from dnsvigil.store.store import Read

MAX_HOSTS: Final = 1000
"""So many hosts are looked at: those with the most bytes in responses."""

MAX_ASKERS: Final = 2_000_000
"""The maximum number of clients, counted in each slot, that are distinguished; beyond it, nobody knows who returns."""

_TABLES: Final = ("slot_hosts", "dns_flows", "flow_files")
_MIN_UNSOLICITED: Final = 10_000  # packets within RECENT that make a victim
_MIN_REFLECTORS: Final = 10
_COUNTS: Final = """count(*) {0}, coalesce(max(peers) {0}, 0), coalesce(sum(peers) {0}, 0)::BIGINT,
    coalesce(sum(responses) {0}, 0)::BIGINT, coalesce(sum(query_bytes) {0}, 0)::BIGINT,
    coalesce(sum(response_bytes) {0}, 0)::BIGINT"""
# Several routers may see one packet: of each host, only the exporter counts that saw most.
_HOSTS: Final = f"""
    WITH slots AS (
        SELECT exporter, host, slot, sum(coalesce(response_packets, response_flows)) AS responses,
            sum(query_bytes) AS query_bytes, sum(response_bytes) AS response_bytes, sum(peers) AS peers
        FROM slot_hosts WHERE slot >= $1 AND slot < $2 GROUP BY ALL
    )
    SELECT host, min(slot), max(slot), count(DISTINCT date_trunc('hour', slot)),
        {_COUNTS.format("")}, {_COUNTS.format("FILTER (slot >= $3)")}
    FROM slots GROUP BY exporter, host
    QUALIFY row_number() OVER (PARTITION BY host ORDER BY sum(response_bytes) DESC NULLS LAST, exporter) = 1
    ORDER BY sum(response_bytes) DESC NULLS LAST, host LIMIT {MAX_HOSTS}
"""
_ASKERS: Final = """
    WITH askers AS (
        SELECT server, client, bit_count(bit_or(1::UINTEGER << date_diff('hour', $1, ts)::INTEGER)) AS hours
        FROM dns_flows WHERE ts >= $1 AND ts < $2 AND server_port = 53 AND response_flows > 0
            AND server IN (SELECT unnest($3::VARCHAR[]))
        GROUP BY server, client
    )
    SELECT server, count(*), count(*) FILTER (hours > 1) FROM askers WHERE NOT ({own}) GROUP BY server
"""
_ASKED: Final = """
    SELECT client, coalesce(sum(query_packets), sum(query_flows), 0)::BIGINT, count(DISTINCT server),
        coalesce(sum(greatest(response_packets - query_packets, 0)) FILTER (ts >= $4), 0)::BIGINT
    FROM dns_flows WHERE ts >= $1 AND ts < $2 AND client IN (SELECT unnest($3::VARCHAR[]))
    GROUP BY client, exporter QUALIFY row_number() OVER (PARTITION BY client ORDER BY count(*) DESC, exporter) = 1
"""
# Where each query has one response, the bytes of a response less those of its query; of several queries the mean.
_ADDED: Final = """
    WITH exchanges AS (
        SELECT server, query_bytes // query_packets AS asked, (response_bytes - query_bytes) / query_packets AS added,
            {own} AS inside
        FROM dns_flows WHERE ts >= $1 AND ts < $2 AND server_port = 53 AND proto = 'udp' AND query_packets > 0
            AND query_packets = response_packets AND server IN (SELECT unnest($3::VARCHAR[]))
    ), sizes AS (
        SELECT server, added, count(*) AS exchanges, count(DISTINCT asked) AS lengths
        FROM exchanges WHERE NOT inside GROUP BY server, added
    )
    SELECT server, sum(exchanges)::BIGINT, max_by(
        {{'added': added, 'exchanges': exchanges, 'lengths': lengths}}, exchanges, {most}
    ) FROM sizes GROUP BY server
"""
_SIZES: Final = 4  # of glue, as much as fits into 512 bytes beside names of different lengths
_MIN_EXCHANGES: Final = 5
_MIN_LENGTHS: Final = 3
_MIN_ADDED: Final = 200  # the names of 13 servers take 211
_NEARLY_ALL: Final = 0.95
_VICTIMS: Final = f"""
    SELECT client, min(ts), max(ts), sum(response_packets)::BIGINT, sum(response_bytes)::BIGINT FROM dns_flows
    WHERE ts >= $1 AND ts < $2 AND response_packets > query_packets
    GROUP BY client HAVING sum(response_packets - query_packets) >= {_MIN_UNSOLICITED}
        AND count(DISTINCT server) >= {_MIN_REFLECTORS}
    ORDER BY sum(response_packets) DESC, client LIMIT {MAX_HOSTS}
"""


class OwnFlows:
    """The flows of one store; ``networks`` are the operator's own."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ip_network(network) for network in networks]
        self.full = False
        """Whether the flows had more hosts than are looked at."""
        is_own = _is_own("client", self._networks)
        self._askers = _ASKERS.replace("{own}", is_own)
        self._added = _ADDED.format(own=is_own, most=_SIZES)

    def newest(self, read: Read, now: datetime) -> datetime | None:
        """Return when the newest slot before ``now`` ends; None without flows."""
        tables = {table for (table,) in read("SELECT table_name FROM duckdb_tables()")}
        if not tables.issuperset(_TABLES):
            return None
        ((slot,),) = read("SELECT max(slot) FROM flow_files WHERE slot < $1", now)
        return slot + SLOT if slot else None

    def seen(self, read: Read, now: datetime) -> list[Seen]:
        """Return the own hosts that answer the outside, or are hit by answers that they did not ask for."""
        newest = self.newest(read, now)
        if newest is None or not self._networks:
            return []
        since, recent = newest - DAY, newest - RECENT
        answering = [self._seen(row) for row in read(_HOSTS, since, newest, recent)]
        self.full = len(answering) == MAX_HOSTS
        found = {each.host: each for each in answering}
        for host, first, last, packets, size in read(_VICTIMS, recent, newest):
            if host not in found and self._owns(host):
                counts = Counts(3, 0, 0, packets, 0, size)
                found[host] = Seen(host, FLOWS, first, last + SLOT, 1, counts, counts, 0, 0, 0.0)
        hosts, few = list(found), _with_few_askers(found.values())
        for host, askers, returning in read(self._askers, since, newest, few) if few else ():
            found[host] = replace(found[host], askers=askers, returning=returning)
        larger = [host for host in few if found[host].day.amplification > 1]
        for host, exchanges, sizes in read(self._added, since, newest, larger) if larger else ():
            found[host] = replace(found[host], added=_constant(exchanges, sizes))
        for host, queries, upstreams, unsolicited in read(_ASKED, since, newest, hosts, recent) if hosts else ():
            share = min(queries / max(found[host].day.responses, 1), 1.0)
            found[host] = replace(found[host], forwarder=share, upstreams=upstreams, unsolicited=unsolicited)
        return list(found.values())

    def _seen(self, row: Sequence[Any]) -> Seen:
        host, first, last, hours, *rest = row
        day, recent = Counts(*rest[:6]), Counts(*rest[6:])
        return Seen(host, FLOWS, first, last + SLOT, hours, day, recent, day.askers, None, 0.0, 0, 0)

    def _owns(self, host: str) -> bool:
        address = ip_address(host)
        return any(address in network for network in self._networks)


def _with_few_askers(found: Iterable[Seen]) -> list[str]:
    """Return the hosts whose clients can be distinguished, those with the fewest first."""
    hosts, left = [], MAX_ASKERS
    for each in sorted(found, key=lambda each: each.day.asker_slots):
        left -= each.day.asker_slots
        if left < 0:
            break
        hosts.append(each.host)
    return hosts


def _constant(exchanges: int, sizes: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return what nearly all responses add to their queries, though these have different lengths; empty if that varies.

    A referral to the root has the same records for every name. What a resolver answers depends on the name.
    """
    chosen = [each for each in sizes if each["added"] >= _MIN_ADDED]
    known = sum(each["exchanges"] for each in chosen)
    lengths = max((each["lengths"] for each in chosen), default=0)
    if known < max(_MIN_EXCHANGES, _NEARLY_ALL * exchanges) or lengths < _MIN_LENGTHS:
        return []
    return sorted(round(each["added"]) for each in chosen)


def _is_own(column: str, networks: Sequence[IPv4Network | IPv6Network]) -> str:
    """Return the condition in SQL that the text of an address lies in one of the networks.

    Numbers are compared of IPv4, which takes a fifth of the time that texts do; of IPv6 all digits, filled up.
    """
    numbers = [(int(each[0]), int(each[-1])) for each in networks if each.version == 4]
    digits = [(f"{int(each[0]):032x}", f"{int(each[-1]):032x}") for each in networks if each.version == 6]
    old, new = _NUMBER.format(column), _DIGITS.format(column)
    among_old = " OR ".join(f"{old} BETWEEN {first} AND {last}" for first, last in numbers) or "false"
    among_new = " OR ".join(f"{new} BETWEEN '{first}' AND '{last}'" for first, last in digits) or "false"
    return f"CASE WHEN contains({column}, ':') THEN {among_new} ELSE {among_old} END"


_NUMBER: Final = " + ".join(f"split_part({{0}}, '.', {4 - byte})::UBIGINT * {256**byte}" for byte in range(4))
_GROUPS: Final = "[part for part in string_split(split_part({{0}}, '::', {}), ':') if part <> '']"
_HEAD, _TAIL = _GROUPS.format(1), _GROUPS.format(2)
_ZEROS: Final = f"list_resize([]::VARCHAR[], greatest(8 - len({_HEAD}) - len({_TAIL}), 0), '0')"
_DIGITS: Final = f"""array_to_string(
    [lpad(part, 4, '0') for part in list_concat(list_concat({_HEAD}, {_ZEROS}), {_TAIL})], '')"""
