"""What brings a store of an older layout up to date, layout by layout.

The statements are frozen: they make the tables of the layout that they lead to, whatever later versions declare.
"""

from collections.abc import Iterable, Mapping
from typing import Final

VERSION: Final = "9"
"""The layout of the stores that this version of dnsvigil makes."""


def _total(name: str, labels: dict[str, str], values: dict[str, str]) -> str:
    """Return the statements that make a table of counters, and fill it from the one table that held all of them.

    ``labels`` and ``values`` have the expression of each column.
    """
    declared = ", ".join([*(f"{label} VARCHAR" for label in labels), *(f"{value} BIGINT" for value in values)])
    selected = ", ".join(f"{expression} AS {column}" for column, expression in (labels | values).items())
    given = " OR ".join(f"{value} IS NOT NULL" for value in values)
    return f"""
        CREATE TABLE total_{name} ({declared});
        INSERT INTO total_{name} BY NAME SELECT {selected} FROM counters GROUP BY ALL HAVING {given};
    """


def _of(metric: str, where: str = "true") -> str:
    return f"sum(value) FILTER (metric = '{metric}' AND {where})::BIGINT"


_SERVER: Final = {"server": "a"}
_EXPORTER: Final = {"exporter": "a"}
_FIRST_WORD: Final = "split_part(b, ' ', 1)"
_REST: Final = "substr(b, instr(b, ' ') + 1)"
_CAPTURED: Final = (
    "packets",
    "packets_dropped",
    "link_packets",
    "bytes",
    "dns_queries",
    "dns_responses",
    "unmatched_queries",
    "unmatched_responses",
    "malformed",
    "dropped_pdns",
    "dropped_open_resolver",
    "dropped_poisoning",
)
_OF_RESOLVERS: Final = (
    "query_flows",
    "query_packets",
    "query_bytes",
    "response_packets",
    "response_bytes",
    "unanswered",
)
_TOTALS: Final = (
    _total("records_ingested", {"source": "a"}, {"records": _of("records_ingested")}),
    _total("records_skipped", {"source": "a", "reason": "b"}, {"records": _of("records_skipped")}),
    _total("queries", _SERVER | {"qtype": "b"}, {"queries": _of("queries")}),
    _total("responses", _SERVER | {"rcode": "b"}, {"responses": _of("responses")}),
    _total("durations", _SERVER | {"bucket": "b"}, {"responses": _of("durations"), "rtt": _of("durations_sum")}),
    _total("zones", _SERVER | {"zone": "b"}, {"queries": _of("zone_queries"), "nxdomain": _of("zone_nxdomain")}),
    _total(
        "zone_failures",
        _SERVER | {"zone": _REST, "reason": _FIRST_WORD},
        {"failures": _of("zone_failure_reasons")},
    ),
    _total("local_names", {"kind": "a"}, {"queries": _of("local_name_queries")}),
    _total("poisoning_signals", {"signal": "a"}, {"signals": _of("poisoning_signals")}),
    _total("capture", {"sensor": "a"}, {column: _of("capture", f"b = '{column}'") for column in _CAPTURED}),
    _total("passive_dns_dropped", {"reason": "a"}, {"tuples": _of("passive_dns_dropped")}),
    _total("novel_dropped", {"reason": "a"}, {"dropped": _of("unusual_dropped")}),
    _total("findings_dropped", {"state": "b"}, {"findings": _of("findings_dropped")}),
    _total("findings_suppressed", {"detector": "a"}, {"findings": _of("findings_suppressed")}),
    _total("set_aside", {"kind": "a"}, {"inputs": _of("set_aside")}),
    _total(
        "flows",
        _EXPORTER | {"protocol": _FIRST_WORD, "service": _REST},
        {"flows": _of("flows"), "packets": _of("flow_packets"), "bytes": _of("flow_bytes")},
    ),
    _total(
        "flow_resolvers",
        _EXPORTER | {"resolver": _REST, "protocol": _FIRST_WORD},
        {column: _of(f"flow_resolver_{column}") for column in _OF_RESOLVERS},
    ),
    _total("flow_files", _EXPORTER | {"result": "b"}, {"files": _of("flow_files")}),
    _total("flow_sequence_failures", _EXPORTER, {"failures": _of("flow_sequence_failures")}),
    _total("dns_flows_dropped", {"reason": "a"}, {"records": _of("dns_flows_dropped")}),
)

_FORMER_TUPLES: Final = """
    rrname VARCHAR, rrtype VARCHAR, rdata VARCHAR, sensor VARCHAR, bailiwick VARCHAR, in_answer BOOLEAN,
    in_authority BOOLEAN, in_additional BOOLEAN, ttl_min UINTEGER, ttl_max UINTEGER, count BIGINT,
    time_first TIMESTAMP, time_last TIMESTAMP
"""

_NAMED_COLUMNS: Final = (
    # The sums of durations had no bucket.
    """
        UPDATE counters SET b = coalesce(
            (SELECT min(of.b) FROM counters AS of WHERE of.metric = 'durations' AND of.a = counters.a), '0'
        ) WHERE metric = 'durations_sum';
    """,
    *_TOTALS,
    "DROP TABLE counters;",
)

MIGRATIONS: Final[Mapping[str, Iterable[str]]] = {
    # Failures had no reason.
    "1": (
        """
        INSERT INTO minute_failures
            SELECT minute, server, zone, 'unknown', failures FROM minute_zones WHERE failures > 0;
        ALTER TABLE minute_zones DROP COLUMN failures;
        INSERT INTO counters
            SELECT 'zone_failure_reasons', a, 'unknown ' || b, value FROM counters WHERE metric = 'zone_failures';
        DELETE FROM counters WHERE metric = 'zone_failures';
        """,
    ),
    # Counters were rows of one table. Other tables had other names; a store in which nothing was ever detected, or that
    # never had flows, has none of these.
    "2": (
        *_NAMED_COLUMNS,
        """
        ALTER TABLE IF EXISTS unusual RENAME COLUMN young TO newly_observed;
        ALTER TABLE IF EXISTS unusual RENAME TO novel;
        ALTER TABLE IF EXISTS young_domains RENAME TO newly_observed_domains;
        ALTER TABLE IF EXISTS flow_handed RENAME TO flow_submitted;
        UPDATE meta SET key = 'evaluated' WHERE key = 'judged';
        """,
    ),
    # Names that were seen had other hashes, so what is new is learned anew, as with a new store.
    "3": ("DROP TABLE IF EXISTS novel; DROP TABLE IF EXISTS seen_names; DROP TABLE IF EXISTS newly_observed_domains;",),
    # All tuples of passive DNS were in tables. The part of passive DNS moves them into files.
    "4": (
        f"""
        DROP VIEW IF EXISTS passive_dns;
        CREATE TABLE IF NOT EXISTS passive_dns_merged ({_FORMER_TUPLES});
        CREATE TABLE IF NOT EXISTS passive_dns_new ({_FORMER_TUPLES});
        INSERT INTO passive_dns_merged FROM passive_dns_new;
        DROP TABLE passive_dns_new;
        ALTER TABLE passive_dns_merged RENAME TO passive_dns_former;
        """,
    ),
    # What a domain is depended on all of its queries, and clients were addresses.
    "5": (
        """
        CREATE TABLE IF NOT EXISTS novel (
            hour TIMESTAMP, client VARCHAR, domain VARCHAR, newly_observed BOOLEAN, minutes UBIGINT,
            first_seen TIMESTAMP, last_seen TIMESTAMP, queries BIGINT, failures BIGINT, names BIGINT,
            failed_names BIGINT, answered_names BIGINT, text_names BIGINT, design_names BIGINT, labels BIGINT,
            label_bytes BIGINT, answer_bytes BIGINT, samples VARCHAR[], addresses VARCHAR[]
        );
        CREATE TABLE novel_of_clients AS
            SELECT *, if(text_names = 0, failures, 0)::BIGINT AS missing, (queries - failures)::BIGINT AS resolved,
                NULL::VARCHAR[] AS sources
            FROM novel;
        DROP TABLE novel;
        ALTER TABLE novel_of_clients RENAME TO novel;
        ALTER TABLE IF EXISTS listed ADD COLUMN sources VARCHAR[];
        """,
    ),
    # Novel traffic had no TTLs, and the answers of newly observed domains alone.
    "6": ("ALTER TABLE IF EXISTS novel ADD COLUMN received VARCHAR[];",),
    # All dismissals lasted 30 days.
    "7": (
        """
        ALTER TABLE IF EXISTS findings ADD COLUMN until TIMESTAMP;
        CREATE TABLE IF NOT EXISTS dismissals (
            detector VARCHAR, subject_type VARCHAR, subject VARCHAR, severity VARCHAR, domains VARCHAR[], why VARCHAR,
            dismissed_at TIMESTAMP
        );
        ALTER TABLE dismissals ADD COLUMN until TIMESTAMP;
        UPDATE dismissals SET until = dismissed_at + INTERVAL 30 DAY;
        """,
    ),
    # Files of the archive were of no site, and what stood for clients were hashes without a key.
    "8": (
        """
        ALTER TABLE IF EXISTS archive_files ADD COLUMN site VARCHAR DEFAULT '';
        ALTER TABLE IF EXISTS archive_files ALTER COLUMN site DROP DEFAULT;
        ALTER TABLE IF EXISTS archive_domain_hours ADD COLUMN client_key VARCHAR DEFAULT '';
        ALTER TABLE IF EXISTS archive_domain_hours ALTER COLUMN client_key DROP DEFAULT;
        """,
    ),
}
"""Layout to what makes the next one of it. The tables of :mod:`dnsvigil.store.store` are there by then."""
