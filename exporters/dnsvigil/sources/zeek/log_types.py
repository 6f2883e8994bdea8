"""The logs that are read, Zeek's own and those of dnsvigil's Zeek package: their columns, and when a record is bad."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from dnsvigil.records import CAPTURE, OPEN_RESOLVER, PASSIVE_DNS, POISONING, TRANSACTION
from dnsvigil.sources.zeek.mnemonics import CLASSES, CODES, TYPES

LIMITS: Final = {"BIGINT": 2**63 - 1, "UINTEGER": 2**32 - 1, "DOUBLE": 10**9}
"""The largest good value of a number, by type."""

ADDRESS: Final = "[0-9a-fA-F:.]{2,45}"
"""The regular expression of what may be an address."""

_WORD: Final = "[0-9A-Za-z_-]{1,32}"


@dataclass(frozen=True, eq=False)
class LogType:
    """One log: how it is recognized, and how its records are read.

    ``reasons`` is the body of an SQL ``CASE`` over the columns in ``checked``, and over ``raw_`` and the name, which is
    the text, of those in ``raw``.
    """

    path: str  # its path in Zeek
    source: str  # the label of its counts
    record: Mapping[str, str]  # column to DuckDB type
    required: Collection[str]  # Zeek's fields that every record has
    identifying: Collection[str]  # scalar fields of which every record has at least one
    reasons: str
    checked: Collection[str]
    raw: Collection[str]
    fields: Mapping[str, str] = field(default_factory=dict)  # column to Zeek's field, where that has another name
    names: Collection[str] = ()  # columns with domain names
    texts: Collection[str] = ()  # columns that may hold any bytes
    named: Mapping[str, tuple[str, Mapping[str, int]]] = field(
        default_factory=dict
    )  # column to the field with its name
    answered: Collection[str] = ()  # fields that only a record with an answer has
    without: Mapping[tuple[str, ...], str] = field(default_factory=dict)  # fields: what is unknown without them

    @property
    def view(self) -> str:
        """Where the parser puts its records."""
        return f"{self.path}_records"

    def field_of(self, column: str) -> str:
        """Return Zeek's name of a column."""
        return self.fields.get(column, column)

    def unknown(self, fields: Collection[str]) -> list[str]:
        """Return, in words, what is unknown of records with these fields."""
        return [
            f"its header has no {' and no '.join(names)}: {what}"
            for names, what in self.without.items()
            if not any(name in fields for name in names)
        ]

    def matches(self, fields: Collection[str]) -> bool:
        """Return whether a record or header with these fields, and without a path, belongs to this log."""
        return all(name in fields for name in self.required) and any(name in fields for name in self.identifying)


def bad_time(column: str, unset: str = "false") -> str:
    """Return the condition that a time cannot be right; ``unset`` is the verdict on NULL."""
    good = f"{column} BETWEEN TIMESTAMP '1990-01-01' AND now()::TIMESTAMP + INTERVAL 1 HOUR"
    return f"NOT coalesce({good}, {unset})"


def _bad_name(column: str) -> str:
    octets = rf"strlen(regexp_replace({column}, '\\x[0-9a-fA-F]{{2}}', '?', 'g'))"
    return f"(strlen({column}) > 255 AND {octets} > 255)"


DNS: Final = LogType(
    path="dns",
    source="zeek",
    record=TRANSACTION,
    required=("ts", "id.orig_h", "id.resp_h"),
    identifying=("query", "qtype", "rcode", "trans_id", "rejected", "AA", "qtype_name", "rcode_name"),
    fields={
        "client": "id.orig_h",
        "client_port": "id.orig_p",
        "server": "id.resp_h",
        "server_port": "id.resp_p",
        "qname": "query",
        "rtt_seconds": "rtt",
        "ttls": "TTLs",
        "aa": "AA",
        "tc": "TC",
        "rd": "RD",
        "ra": "RA",
        "dnssec_ok": "do",
    },
    names=("qname",),
    named={"qclass": ("qclass_name", CLASSES), "qtype": ("qtype_name", TYPES), "rcode": ("rcode_name", CODES)},
    answered=("rtt", "answers"),
    without={
        (
            "rcode",
            "rcode_name",
        ): "responses, failures and unanswered queries are not known and left out of the metrics, and"
        " detectors see no failures",
        ("qtype", "qtype_name"): "query types are not known",
        ("query",): "names are not known: all queries count for the zone `other`, and detectors see none",
        ("rtt",): "response times are not known",
        ("answers",): "answers are not known to detectors",
    },
    checked=("ts", "client", "server", "qname", "qtype", "rcode", "rtt_seconds"),
    raw=("qtype", "rcode", "rtt_seconds"),
    reasons=rf"""
        WHEN {bad_time("ts")} THEN 'timestamp'
        WHEN NOT regexp_full_match(concat(client, ' ', server), '{ADDRESS} {ADDRESS}') THEN 'address'
        WHEN (qtype IS NULL AND raw_qtype IS NOT NULL) OR (rcode IS NULL AND raw_rcode IS NOT NULL) THEN 'number'
        WHEN raw_rtt_seconds IS NOT NULL AND NOT coalesce(rtt_seconds BETWEEN 0 AND 86400, false) THEN 'rtt'
        WHEN {_bad_name("qname")} THEN 'name'
        """,
)
"""Zeek's dns.log, with the columns that the package adds to it."""


def _package_log(
    path: str,
    source: str,
    record: Mapping[str, str],
    *,
    required: Collection[str],
    identifying: Collection[str],
    needed: Collection[str],
    addresses: Collection[str] = (),
    names: Collection[str] = (),
    words: Collection[str] = (),
    texts: Collection[str] = (),
    fields: Mapping[str, str] | None = None,
) -> LogType:
    """Return a log of the package. ``needed`` are the columns, beside the time, that every record must have."""
    times = [column for column, form in record.items() if form == "TIMESTAMP"]
    numbers = {column: LIMITS[form] for column, form in record.items() if form in LIMITS}

    def unset(column: str) -> str:
        return "false" if column in needed or column == "ts" else f"raw_{column} IS NULL"

    def any_of(bad: list[str], reason: str) -> str:
        return f" WHEN {' OR '.join(bad)} THEN '{reason}'" if bad else ""

    early = ["time_first > time_last"] if "time_first" in record else []
    reasons = (
        any_of([bad_time(column, unset(column)) for column in times] + early, "timestamp")
        + any_of(
            [f"NOT coalesce(regexp_full_match({name}, '{ADDRESS}'), {unset(name)})" for name in addresses], "address"
        )
        + any_of(
            [f"NOT coalesce({name} BETWEEN 0 AND {most}, {unset(name)})" for name, most in numbers.items()], "number"
        )
        + any_of([f"NOT coalesce(NOT {_bad_name(name)}, {unset(name)})" for name in names], "name")
        + any_of([f"NOT coalesce(regexp_full_match({name}, '{_WORD}'), {unset(name)})" for name in words], "word")
    )
    checked = [*times, *addresses, *numbers, *names, *words]
    return LogType(
        path=path,
        source=source,
        record=record,
        required=required,
        identifying=identifying,
        reasons=reasons,
        checked=checked,
        raw=checked,
        fields=fields or {},
        names=names,
        texts=("node", *texts),
        without={
            ((fields or {}).get(column, column),): "what it says is not known and left out of the metrics"
            for column in record
            if column not in ("ts", "sensor", "node")
        },
    )


PDNS: Final = _package_log(
    "dnsvigil_pdns",
    "zeek_pdns",
    PASSIVE_DNS,
    required=("rrname", "rrtype"),
    identifying=("rdata", "bailiwick", "ttl_min", "count"),
    needed=("rrname", "rrtype", "count", "time_first", "time_last"),
    names=("rrname", "bailiwick"),
    words=("rrtype",),
    texts=("rdata",),
)

OPEN_RESOLVERS: Final = _package_log(
    "dnsvigil_open_resolver",
    "zeek_open_resolver",
    OPEN_RESOLVER,
    required=("host", "kind"),
    identifying=("askers", "answered_from"),
    needed=("host", "kind"),
    addresses=("host", "answered_from"),
    words=("kind",),
)

POISONINGS: Final = _package_log(
    "dnsvigil_poisoning",
    "zeek_poisoning",
    POISONING,
    required=("resolver",),
    identifying=("wrong_id", "wrong_port", "unsolicited"),
    needed=("resolver",),
    addresses=("resolver",),
    names=("zone",),
)

CAPTURES: Final = _package_log(
    "dnsvigil_capture",
    "zeek_capture",
    CAPTURE,
    required=("packets", "interval"),
    identifying=("packets_dropped", "dns_queries", "dns_responses"),
    needed=("interval_seconds", "packets"),
    fields={"interval_seconds": "interval"},
)

LOG_TYPES: Final = (DNS, PDNS, OPEN_RESOLVERS, POISONINGS, CAPTURES)

BY_PATH: Final = {log_type.path: log_type for log_type in LOG_TYPES}
