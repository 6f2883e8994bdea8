"""What sources give and the store keeps: the records of each log, and the cursor of a log file."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import dns.rcode
import dns.rdatatype

TRANSACTION: Final[dict[str, str]] = {
    "ts": "TIMESTAMP",  # UTC, microseconds
    "sensor": "VARCHAR",
    "uid": "VARCHAR",
    "client": "VARCHAR",
    "client_port": "USMALLINT",
    "server": "VARCHAR",
    "server_port": "USMALLINT",
    "proto": "VARCHAR",
    "trans_id": "USMALLINT",
    "qname": "VARCHAR",  # lower case, no final dot, "." for the root; all but printable ASCII as \xNN
    "qclass": "USMALLINT",
    "qtype": "USMALLINT",
    "rcode": "USMALLINT",  # NULL: no answer was seen; also UNKNOWN_RCODE and UNNAMED_RCODE
    "rtt_seconds": "DOUBLE",
    "answers": "VARCHAR[]",
    "ttls": "DOUBLE[]",  # seconds
    "aa": "BOOLEAN",
    "tc": "BOOLEAN",
    "rd": "BOOLEAN",
    "ra": "BOOLEAN",
    "rejected": "BOOLEAN",
    "query_bytes": "UINTEGER",
    "response_bytes": "UINTEGER",
    "answer_types": "VARCHAR[]",  # mnemonic of each answer
    "edns_udp_size": "UINTEGER",
    "dnssec_ok": "BOOLEAN",
    "ede": "USMALLINT[]",  # extended error codes, RFC 8914
}
"""Column name to DuckDB type of the DNS transaction record. Every column but ``ts`` may be NULL."""

SUMMARY_COLUMNS: Final = ("ts", "client", "server", "server_port", "qname", "qtype", "rcode", "rtt_seconds")
"""The columns of a transaction that the summaries need."""

NOVELTY_COLUMNS: Final = ("ts", "client", "qname", "qtype", "rcode", "answers", "ttls")
"""The columns of a transaction by which novel and listed traffic is found."""

LATENCY_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the response duration histogram, in seconds."""

ANSWER_COLUMNS: Final = ("ts", "sensor", "qname", "qclass", "qtype", "rcode", "answers", "ttls", "tc", "answer_types")
"""The columns of a transaction in which passive DNS is found."""

PASSIVE_DNS: Final[dict[str, str]] = {
    "ts": "TIMESTAMP",  # when the sensor wrote it; UTC, microseconds, like all times here
    "sensor": "VARCHAR",
    "node": "VARCHAR",
    "rrname": "VARCHAR",  # in the form of qname
    "rrtype": "VARCHAR",  # mnemonic, TYPE and the number for types without
    "rdata": "VARCHAR",  # as zone files have it, all but printable ASCII as \xNN; NULL: the sensor cannot say
    "section": "VARCHAR[]",  # answer, authority, additional
    "bailiwick": "VARCHAR",  # the zone whose servers said so
    "ttl_min": "UINTEGER",  # seconds
    "ttl_max": "UINTEGER",
    "count": "BIGINT",
    "time_first": "TIMESTAMP",
    "time_last": "TIMESTAMP",
}
"""Columns of a passive DNS row: what a sensor saw of one tuple since its last row about it."""

ANSWER, AUTHORITY, ADDITIONAL, INFERRED, UNCERTAIN = 1, 2, 4, 8, 16
"""Where a tuple was seen, as bits: the sections of messages; in dns.log, where owner and type are inferred; and there
where they are not sure."""

TUPLE: Final[dict[str, str]] = {
    "nkey": "VARCHAR",  # of the owner's name, as dnsvigil.store.tuple_keys has it
    "rrtype": "VARCHAR",  # mnemonic; NODATA or NXDOMAIN where there was no such type, or name
    "rkey": "VARCHAR",  # of the data
    "bailiwick": "UTINYINT",  # the zone whose servers said so, by its number of labels; NULL: not known
    "time_first": "UINTEGER",  # seconds since 1970 in UTC
    "time_last": "UINTEGER",
    "count": "BIGINT",
    "ttl_min": "UINTEGER",  # seconds; NULL: not known
    "ttl_max": "UINTEGER",
    "sensors": "UBIGINT",  # a bit for each
    "seen_in": "UTINYINT",  # ANSWER and so on
}
"""Columns of a passive DNS tuple in the store: its key, the first four, and what adds up."""

CANONICAL, OVERLOADED, UNWANTED = ("canonical", "overloaded", "unwanted")
"""What a query is for, as dnsvigil.features.traffic_classes has it."""

OPEN_KINDS: Final = ("recursive", "forwarder")
"""How a host can be an open resolver: by asking the servers itself, or by having another host do it."""

OPEN_RESOLVER: Final[dict[str, str]] = {
    "ts": "TIMESTAMP",
    "sensor": "VARCHAR",
    "node": "VARCHAR",
    "host": "VARCHAR",
    "kind": "VARCHAR",  # one of OPEN_KINDS
    "answered_from": "VARCHAR",  # the address that answered for a forwarder
    "askers": "BIGINT",  # distinct in this row
    "returning_askers": "BIGINT",  # of these, those that were in the row before as well
    "queries": "BIGINT",
    "responses": "BIGINT",
    "query_bytes": "BIGINT",
    "response_bytes": "BIGINT",
    "sample_names": "VARCHAR[]",
    "time_first": "TIMESTAMP",
    "time_last": "TIMESTAMP",
}
"""Columns of an open resolver row: what a sensor saw of a host that answers strangers in an interval."""

SCANNED_HOST: Final[dict[str, str]] = {
    "host": "VARCHAR",
    "protocol": "VARCHAR",
    "port": "USMALLINT",
    "first_seen": "TIMESTAMP",
    "last_seen": "TIMESTAMP",
    "severity": "VARCHAR",  # in the scan's words, as all below
    "hostname": "VARCHAR",
    "tag": "VARCHAR",
    "dns_version": "VARCHAR",
    "asn": "BIGINT",
    "geo": "VARCHAR",
    "region": "VARCHAR",
    "city": "VARCHAR",
    "min_amplification": "DOUBLE",
    "p0f_genre": "VARCHAR",
    "p0f_detail": "VARCHAR",
    "naics": "BIGINT",
    "hostname_source": "VARCHAR",
    "sector": "VARCHAR",
}
"""Columns of a scanned host: an open resolver that somebody's scans found, as the newest report has it."""

SIGNALS: Final = (
    "wrong_id",
    "wrong_port",
    "conflicting_answers",
    "unsolicited",
    "out_of_bailiwick",
    "nxdomain_storm",
    "forged_ns",
    "first_fragments",
    "icmp_unreachable",
    "ttl_jumps",
    "ip_ttl_jumps",
)
"""What may be a sign of cache poisoning; each is a column with its count."""

POISONING: Final[dict[str, str]] = {
    "ts": "TIMESTAMP",
    "sensor": "VARCHAR",
    "node": "VARCHAR",
    "resolver": "VARCHAR",
    "zone": "VARCHAR",
    "time_first": "TIMESTAMP",
    "time_last": "TIMESTAMP",
    "queries": "BIGINT",
    "responses": "BIGINT",
    **dict.fromkeys(SIGNALS, "BIGINT"),
    "port_entropy": "DOUBLE",  # bits, as the next
    "id_entropy": "DOUBLE",
    "sources": "BIGINT",  # distinct addresses of the deviating answers
    "sample_names": "VARCHAR[]",
    "sample_servers": "VARCHAR[]",
    "odd_fragments": "BIGINT",  # of first_fragments, those that overlap, contradict each other or are tiny
    "sample_records": "VARCHAR[]",  # owner, type and data of some records in suspicious answers
}
"""Columns of a poisoning row: the signs that a sensor saw at a resolver, for a zone, in an interval."""

CAPTURE: Final[dict[str, str]] = {
    "ts": "TIMESTAMP",
    "sensor": "VARCHAR",
    "node": "VARCHAR",
    "interval_seconds": "DOUBLE",
    "packets": "BIGINT",  # received
    "packets_dropped": "BIGINT",
    "link_packets": "BIGINT",
    "bytes": "BIGINT",
    "dns_queries": "BIGINT",
    "dns_responses": "BIGINT",
    "unmatched_queries": "BIGINT",
    "unmatched_responses": "BIGINT",
    "malformed": "BIGINT",
    "dropped_pdns": "BIGINT",  # state entries that the sensor's bounds refused, as the next
    "dropped_open_resolver": "BIGINT",
    "dropped_poisoning": "BIGINT",
}
"""Columns of a capture row: how much a sensor saw, and lost, in an interval."""

COWRIE_EVENT: Final[dict[str, str]] = {
    "ts": "TIMESTAMP",
    "sensor": "VARCHAR",
    "event": "VARCHAR",  # such as cowrie.command.input
    "session": "VARCHAR",
    "protocol": "VARCHAR",  # ssh, telnet
    "client": "VARCHAR",  # the attacker
    "honeypot": "VARCHAR",  # the address that was attacked; of a forwarding request, the one that was asked for
    "command": "VARCHAR",
    "url": "VARCHAR",
}
"""Columns of an event of Cowrie's."""

DIONAEA_CONNECTION: Final[dict[str, str]] = {
    "ts": "TIMESTAMP",  # when it began
    "sensor": "VARCHAR",
    "client": "VARCHAR",  # the attacker, or where the honeypot connected to
    "port": "VARCHAR",
    "honeypot": "VARCHAR",
    "connection": "VARCHAR",  # JSON: protocol, transport, type; as the next two
    "credentials": "VARCHAR",
    "ftp": "VARCHAR",
}
"""Columns of a connection of Dionaea's."""

DIONAEA_INCIDENT: Final[dict[str, str]] = {
    "ts": "TIMESTAMP",
    "sensor": "VARCHAR",
    "event": "VARCHAR",  # such as dionaea.download.offer
    "data": "VARCHAR",  # JSON
}
"""Columns of an incident of Dionaea's."""

DNS_FLOW: Final[dict[str, str]] = {
    "ts": "TIMESTAMP",  # begin of the five minutes
    "exporter": "VARCHAR",
    "client": "VARCHAR",
    "server": "VARCHAR",
    "server_port": "USMALLINT",
    "proto": "VARCHAR",  # udp, tcp
    "query_flows": "BIGINT",  # to the server's port, as the next two
    "query_packets": "BIGINT",
    "query_bytes": "BIGINT",
    "response_flows": "BIGINT",  # from the server's port, as the next two
    "response_packets": "BIGINT",
    "response_bytes": "BIGINT",
    "unanswered": "BIGINT",  # over UDP query packets, over TCP query flows, that have no counterpart
    "amplification": "DOUBLE",  # response bytes for a query byte; NULL without a query
}
"""Columns of a DNS flow record: what flows between a client and a DNS server there were in five minutes."""

NOVEL: Final[dict[str, str]] = {
    "hour": "TIMESTAMP",  # its begin
    "client": "VARCHAR",  # address, or prefix of IPv6
    "domain": "VARCHAR",  # registered; "." for all names of one label
    "newly_observed": "BOOLEAN",  # few clients have asked for the domain, and none longer than a day ago
    "minutes": "UBIGINT",  # bit n is set when there was something in minute n of the hour
    "first_seen": "TIMESTAMP",
    "last_seen": "TIMESTAMP",
    "queries": "BIGINT",  # all, if the domain is newly observed, else those for new names
    "failures": "BIGINT",  # of these, answered NXDOMAIN
    "missing": "BIGINT",  # of the failures, those of ORDINARY_TYPES
    "resolved": "BIGINT",  # of the queries, those of ORDINARY_TYPES that are answered with records
    "names": "BIGINT",  # new: asked by nobody before; this client was the first. So all below
    "failed_names": "BIGINT",  # answered NXDOMAIN, and never with records
    "answered_names": "BIGINT",  # answered with records; once more where the first answers of other types come later
    "text_names": "BIGINT",  # asked with other types than ORDINARY_TYPES, then or later; not those with mail policy
    "design_names": "BIGINT",  # whose answers are those of look-ups that are long by design: in 127/8, or mail policy
    "labels": "BIGINT",  # labels below the domain that no name in it had before
    "label_bytes": "BIGINT",  # octets of those
    "answer_bytes": "BIGINT",  # octets of answers below that domain that nobody got before, in presentation form
    "samples": "VARCHAR[]",  # some of the new names, whatever their order
    "received": "VARCHAR[]",  # some of these that got records of ORDINARY_TYPES: name, TTL and answers, tabs between
    "addresses": "VARCHAR[]",  # some of those in the answers, if the domain is newly observed
    "sources": "VARCHAR[]",  # some of the addresses that asked, if the client is a prefix
}
"""Columns of a novel traffic row: what a client asked for in an hour that is new, or in a domain that is.

A key (hour, client, domain, newly_observed) may have several rows, which add up: counts by sum, ``minutes`` by or.
"""

NOVEL_COUNTS: Final = tuple(name for name, kind in NOVEL.items() if kind == "BIGINT")
"""The columns of a novel traffic row that are counts."""

CARRIED: Final = ("labels", "label_bytes", "answer_bytes")
"""Those that come from the labels and answers of new names."""

STANDING: Final = ("names", "failed_names", "answered_names", "text_names", "design_names")
"""The columns that say what a domain is."""

MAX_LONELY: Final = 4
"""How many clients a domain has at most that hardly anyone asks for."""

MIN_LONELY_NAMES: Final = 4
"""How many new names such a domain must have to be looked at."""

ORDINARY_TYPES: Final = (1, 2, 6, 12, 28, 43, 46, 47, 48, 50, 64, 65, 255)
"""Types whose answers cannot carry anything: A, NS, SOA, PTR, AAAA, those of DNSSEC, SVCB, HTTPS, ANY."""

FLOOD: Final = "*"
"""The domain that stands for what a client queries beyond what is kept of it."""

SINGLE_LABEL: Final = "."
"""The domain of names of one label."""

LOCAL_DOMAINS: Final = (
    "alt", "home.arpa", "internal", "invalid", "local", "localhost", "onion", "service.arpa", "test",
)  # fmt: skip
"""Domains that are never delegated to servers outside: of multicast DNS (RFC 6762), of special use (RFC 6761, 7686,
8375, 9476, 9665), and for private use."""

MIN_BURST: Final = 4
"""How many failing domains in a row make a client suspicious."""

MAX_SAMPLES: Final = 8
"""How many names a row has as samples."""

LISTED: Final[dict[str, str]] = {
    "hour": "TIMESTAMP",
    "client": "VARCHAR",
    "entry": "VARCHAR",  # of the list: the name that was asked for, or one that it lies in
    "lists": "VARCHAR[]",
    "minutes": "UBIGINT",  # as in NOVEL
    "first_seen": "TIMESTAMP",
    "last_seen": "TIMESTAMP",
    "queries": "BIGINT",
    "failures": "BIGINT",
    "samples": "VARCHAR[]",
    "addresses": "VARCHAR[]",  # some of those in the answers
    "sources": "VARCHAR[]",  # as in NOVEL
}
"""Columns of a listed traffic row: what a client asked for in an hour that the operator's lists have. Rows add up."""

CLIENT_LOOKUP: Final[dict[str, str]] = {
    "hour": "TIMESTAMP",  # its begin
    "client": "VARCHAR",  # as in NOVEL
    "kind": "VARCHAR",  # MAIL, REVERSE, OWN_LISTING or LISTING
    "key": "VARCHAR",  # a mail domain, a reverse zone of 256 addresses, or a block list
    "part": "USMALLINT",  # the address in its reverse zone; 0 for other kinds
    "queries": "BIGINT",
    "failures": "BIGINT",  # of these, answered NXDOMAIN
    "first_seen": "TIMESTAMP",
    "last_seen": "TIMESTAMP",
}
"""Columns of what a client asked for in an hour about mail and addresses. Rows with the same key add up."""

MAIL, REVERSE, OWN_LISTING, LISTING = ("mail", "reverse", "own listing", "listing")
"""The kinds of these look-ups: of mail servers (MX), of an address's name (PTR), and of the client's own or another
address in a block list."""

MIN_LOOKUPS: Final = 4
"""Of a kind that a client asks for in an hour; less is not looked at."""

DOMAIN_HOUR: Final[dict[str, str]] = {
    "domain": "VARCHAR",  # registered
    "hour": "TIMESTAMP",  # its begin
    "queries": "BIGINT",
    "known": "BIGINT",  # queries of which the log says whether there was an answer, and which; so the next two
    "failed": "BIGINT",
    "nxdomain": "BIGINT",
    "first_seen": "TIMESTAMP",  # of the queries
    "last_seen": "TIMESTAMP",
    "clients": "BIGINT[]",  # sketch of the distinct clients
    "names": "BIGINT[]",  # sketch of the distinct names below the domain that were asked for
}
"""Columns of a domain's summary of an hour.

A key (domain, hour) may have several rows, which add up: counts by sum, sketches as in store/sketches.py.
"""

DOMAIN_FEATURES: Final[dict[str, str]] = {
    "ips": "distinct addresses",
    "ip_dispersion": "how evenly the addresses lie over networks",
    "ttl_mean": "mean TTL, seconds",
    "ttl_variation": "standard deviation of the TTL over its mean",
    "queries": "queries",
    "queries_per_hour": "queries in an hour that has any",
    "seen_seconds": "time from the first to the last, seconds",
    "name_servers": "distinct name servers",
    "subdomains": "distinct names below it that were asked for",
    "failed_share": "share of failed queries",
    "nxdomain_share": "share of queries answered NXDOMAIN",
    "daily_similarity": "how much the days are alike, by their hours",
    "activities": "times that queries began after an hour without",
    "activity_variation": "how uneven the times between these are",
    "ttls": "distinct TTLs",
    "ttl_changes": "TTLs beyond the first of each name and type",
    "ttl_below_1": "share of TTLs of 0 seconds",
    "ttl_below_10": "share of TTLs from 1 to 9 seconds",
    "ttl_below_100": "share of TTLs from 10 to 99 seconds",
    "ttl_below_300": "share of TTLs from 100 to 299 seconds",
    "ttl_below_900": "share of TTLs from 300 to 899 seconds",
    "ttl_from_900": "share of TTLs from 900 seconds on",
    "digits_share": "share of digits in its first label",
    "longest_word_share": "share of the longest word in its first label",
    "name_entropy": "entropy of the characters of its first label, bits",
    "asns": "distinct autonomous systems of the addresses",
    "countries": "distinct countries of the addresses",
    "sharing_domains": "other domains at its most shared address",
    "clients": "distinct clients",
    "magnitude": "DNS Magnitude",
    "prevalence": "share of all clients that asked for it",
}
"""The features of a domain, in order, with what each is; docs/features.md has the formulas."""

NO_GROUP: Final = "none"
"""What stands for the group of domains that are in none."""

SHORTEST_WORD: Final = 4
"""Words of fewer letters are in names by chance, and are not looked for."""

FLOW_SLOT_SECONDS: Final = 300
"""Event time is cut into slots of this length wherever flows are counted."""

FLOW_MEASURES: Final = ("flows", "packets", "bytes")
"""What is counted of flows, and makes a series, for each exporter, protocol and service."""

RESOLVER_MEASURES: Final = ("clients", "query_packets", "query_bytes", "response_bytes", "tcp_ratio")
"""What makes a series of each resolver that flows show; the last is the share of TCP in query flows."""

FLOW_ANOMALIES: Final = ("spike", "drop", "shift_up", "shift_down", "threshold")
"""What can be wrong with the newest slot of a series."""

TALKER_ELEMENTS: Final = ("srcip", "dstip", "srcport", "dstport", "proto", "srcas", "dstas")
"""The elements of top talkers, as nfdump calls them."""

SUBJECT_TYPES: Final = ("client", "domain", "host", "server", "zone", "resolver", "series")
"""What a finding can be about."""

FINDING_STATES: Final = ("open", "closed", "dismissed")
"""The states of a finding."""

SEVERITIES: Final = ("info", "warning", "critical")
"""How bad a finding is, from the least."""

QTYPES: Final[dict[int, str]] = {int(rdtype): rdtype.name for rdtype in dns.rdatatype.RdataType}
"""Type number to its mnemonic, for the types that have one."""

RCODES: Final[dict[int, str]] = {int(rcode): rcode.name for rcode in dns.rcode.Rcode}
"""Response code number to its mnemonic, for the codes that have one."""

UNKNOWN_RCODE: Final = 65_535
"""The response code where a log does not say whether there was an answer. None on the wire has more than 12 bits."""

UNNAMED_RCODE: Final = 65_534
"""The response code of an answer of which a log does not say the code."""

UNKNOWN: Final = "unknown"
"""Stands for the type, and beside the response codes for the outcome, that a log does not say."""

UNANSWERED: Final = "unanswered"
"""Stands beside the response codes where a query that got no answer is meant."""

TIMEOUT: Final = "timeout"
"""The reason of a failure that is a query without an answer."""


def failure_reason(rcode: str) -> str:
    """Return the label ``reason`` of failures with a response code, or with ``UNANSWERED``."""
    return TIMEOUT if rcode == UNANSWERED else rcode.lower()


OTHER: Final = "other"
"""The label of everything that has no label of its own."""


def is_local(name: str) -> bool:
    """Return whether a name is in one of ``LOCAL_DOMAINS``."""
    return any(name == domain or name.endswith(f".{domain}") for domain in LOCAL_DOMAINS)


@dataclass(frozen=True)
class Cursor:
    """How far one log file has been read.

    A file is known by what it begins with, not by its name or inode: it stays the same file when it is
    renamed, copied or compressed, and is another one when it is truncated and written anew.
    """

    id: str
    sensor: str
    head_size: int  # bytes, from the first record on
    head_hash: str  # SHA-256 of those bytes, in hex
    offset: int  # bytes of the uncompressed content that have been read
    header: bytes  # the TSV header in force at the offset, empty for none
    path: str  # the file where it was first seen, or the folder that is followed and the log's name
    whole_size: int = 0  # bytes on disk of the compressed file in which nothing is left behind the offset


def utc_now() -> datetime:
    """Return the wall clock's time, in UTC and without a zone, as all times of records."""
    return datetime.now(UTC).replace(tzinfo=None)
