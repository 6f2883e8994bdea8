"""Stores as older versions of dnsvigil made them, in SQL."""

from pathlib import Path
from typing import Final

import duckdb

from dnsvigil.store.store import FILE_NAME

_LAYOUT_2: Final = """
CREATE TABLE anomaly_scores (detector VARCHAR, subject_type VARCHAR, subject VARCHAR, score DOUBLE);
CREATE TABLE capture (
    ts TIMESTAMP, sensor VARCHAR, node VARCHAR, interval_seconds DOUBLE, packets BIGINT, packets_dropped BIGINT,
    link_packets BIGINT, bytes BIGINT, dns_queries BIGINT, dns_responses BIGINT, unmatched_queries BIGINT,
    unmatched_responses BIGINT, malformed BIGINT, dropped_pdns BIGINT, dropped_open_resolver BIGINT,
    dropped_poisoning BIGINT
);
CREATE TABLE counters (metric VARCHAR, a VARCHAR, b VARCHAR, value BIGINT, PRIMARY KEY (metric, a, b));
CREATE TABLE cursors (
    id VARCHAR PRIMARY KEY, sensor VARCHAR, head_size BIGINT, head_hash VARCHAR, "offset" BIGINT, header BLOB,
    path VARCHAR, whole_size BIGINT, used_at TIMESTAMP
);
CREATE TABLE dismissals (
    detector VARCHAR, subject_type VARCHAR, subject VARCHAR, severity VARCHAR, domains VARCHAR[], why VARCHAR,
    dismissed_at TIMESTAMP
);
CREATE SEQUENCE finding_ids;
CREATE TABLE findings (
    id BIGINT, detector VARCHAR, subject_type VARCHAR, subject VARCHAR, score DOUBLE, severity VARCHAR,
    first_seen TIMESTAMP, last_seen TIMESTAMP, count BIGINT, evidence VARCHAR, state VARCHAR, why VARCHAR
);
CREATE TABLE labels (kind VARCHAR, label VARCHAR, shown BOOLEAN, weight DOUBLE);
CREATE TABLE listed (
    hour TIMESTAMP, client VARCHAR, entry VARCHAR, lists VARCHAR[], minutes UBIGINT, first_seen TIMESTAMP,
    last_seen TIMESTAMP, queries BIGINT, failures BIGINT, samples VARCHAR[], addresses VARCHAR[]
);
CREATE TABLE meta (key VARCHAR PRIMARY KEY, value VARCHAR);
CREATE TABLE minute_clients (minute TIMESTAMP, server VARCHAR, sketch UBIGINT[]);
CREATE TABLE minute_failures (minute TIMESTAMP, server VARCHAR, zone VARCHAR, reason VARCHAR, failures BIGINT);
CREATE TABLE minute_latencies (minute TIMESTAMP, server VARCHAR, bucket TINYINT, records BIGINT, rtt BIGINT);
CREATE TABLE minute_types (minute TIMESTAMP, server VARCHAR, qtype VARCHAR, rcode VARCHAR, records BIGINT);
CREATE TABLE minute_zones (minute TIMESTAMP, server VARCHAR, zone VARCHAR, queries BIGINT, nxdomain BIGINT);
CREATE TABLE open_resolvers (
    ts TIMESTAMP, sensor VARCHAR, node VARCHAR, host VARCHAR, kind VARCHAR, answered_from VARCHAR, askers BIGINT,
    queries BIGINT, responses BIGINT, query_bytes BIGINT, response_bytes BIGINT, sample_names VARCHAR[],
    time_first TIMESTAMP, time_last TIMESTAMP
);
CREATE TABLE passive_dns_merged (
    rrname VARCHAR, rrtype VARCHAR, rdata VARCHAR, sensor VARCHAR, bailiwick VARCHAR, in_answer BOOLEAN,
    in_authority BOOLEAN, in_additional BOOLEAN, ttl_min UINTEGER, ttl_max UINTEGER, count BIGINT,
    time_first TIMESTAMP, time_last TIMESTAMP
);
CREATE TABLE passive_dns_new AS FROM passive_dns_merged;
CREATE TABLE poisoning (
    ts TIMESTAMP, sensor VARCHAR, node VARCHAR, resolver VARCHAR, zone VARCHAR, time_first TIMESTAMP,
    time_last TIMESTAMP, queries BIGINT, responses BIGINT, wrong_id BIGINT, wrong_port BIGINT,
    conflicting_answers BIGINT, unsolicited BIGINT, out_of_bailiwick BIGINT, nxdomain_storm BIGINT, forged_ns BIGINT,
    first_fragments BIGINT, icmp_unreachable BIGINT, ttl_jumps BIGINT, ip_ttl_jumps BIGINT, port_entropy DOUBLE,
    id_entropy DOUBLE, sources BIGINT, sample_names VARCHAR[], sample_servers VARCHAR[]
);
CREATE TABLE seen_names (generation BIGINT, hash UBIGINT);
CREATE TABLE sensors (
    source VARCHAR, sensor VARCHAR, last_event TIMESTAMP, last_read TIMESTAMP, PRIMARY KEY (source, sensor)
);
CREATE TABLE set_aside (
    kind VARCHAR, subject VARCHAR, reason VARCHAR, stamp VARCHAR, since TIMESTAMP, PRIMARY KEY (kind, subject)
);
CREATE TABLE unusual (
    hour TIMESTAMP, client VARCHAR, domain VARCHAR, young BOOLEAN, minutes UBIGINT, first_seen TIMESTAMP,
    last_seen TIMESTAMP, queries BIGINT, failures BIGINT, names BIGINT, failed_names BIGINT, answered_names BIGINT,
    text_names BIGINT, design_names BIGINT, labels BIGINT, label_bytes BIGINT, answer_bytes BIGINT, samples VARCHAR[],
    addresses VARCHAR[]
);
CREATE TABLE young_domains (hash UBIGINT, first_seen TIMESTAMP);
INSERT INTO meta VALUES ('version', '2'), ('servers', '{}'), ('event_time', '2026-01-31T12:00:00');
"""

_LAYOUT_1: Final = f"""
{_LAYOUT_2}
DROP TABLE minute_failures;
ALTER TABLE minute_zones ADD COLUMN failures BIGINT;
UPDATE meta SET value = '1' WHERE key = 'version';
"""

_LAYOUT_3: Final = f"""
{_LAYOUT_2}
DROP TABLE counters;
ALTER TABLE unusual RENAME COLUMN young TO newly_observed;
ALTER TABLE unusual RENAME TO novel;
ALTER TABLE young_domains RENAME TO newly_observed_domains;
UPDATE meta SET value = '3' WHERE key = 'version';
"""

_LAYOUT_4: Final = f"""
{_LAYOUT_3}
DROP TABLE novel;
DROP TABLE seen_names;
DROP TABLE newly_observed_domains;
CREATE VIEW passive_dns AS FROM passive_dns_merged UNION ALL FROM passive_dns_new;
UPDATE meta SET value = '4' WHERE key = 'version';
"""

_LAYOUT_5: Final = f"""
{_LAYOUT_4}
DROP VIEW passive_dns;
DROP TABLE passive_dns_merged;
DROP TABLE passive_dns_new;
CREATE TABLE novel (
    hour TIMESTAMP, client VARCHAR, domain VARCHAR, newly_observed BOOLEAN, minutes UBIGINT, first_seen TIMESTAMP,
    last_seen TIMESTAMP, queries BIGINT, failures BIGINT, names BIGINT, failed_names BIGINT, answered_names BIGINT,
    text_names BIGINT, design_names BIGINT, labels BIGINT, label_bytes BIGINT, answer_bytes BIGINT, samples VARCHAR[],
    addresses VARCHAR[]
);
CREATE TABLE seen_names (generation BIGINT, hash UBIGINT);
CREATE TABLE newly_observed_domains (hash UBIGINT, first_seen TIMESTAMP);
UPDATE meta SET value = '5' WHERE key = 'version';
"""

_LAYOUT_6: Final = f"""
{_LAYOUT_5}
ALTER TABLE novel ADD COLUMN missing BIGINT;
ALTER TABLE novel ADD COLUMN resolved BIGINT;
ALTER TABLE novel ADD COLUMN sources VARCHAR[];
ALTER TABLE listed ADD COLUMN sources VARCHAR[];
UPDATE meta SET value = '6' WHERE key = 'version';
"""

_LAYOUT_7: Final = f"""
{_LAYOUT_6}
ALTER TABLE novel ADD COLUMN received VARCHAR[];
UPDATE meta SET value = '7' WHERE key = 'version';
"""

_LAYOUT_8: Final = f"""
{_LAYOUT_7}
ALTER TABLE findings ADD COLUMN until TIMESTAMP;
ALTER TABLE dismissals ADD COLUMN until TIMESTAMP;
UPDATE meta SET value = '8' WHERE key = 'version';
"""

_ALL: Final = (_LAYOUT_1, _LAYOUT_2, _LAYOUT_3, _LAYOUT_4, _LAYOUT_5, _LAYOUT_6, _LAYOUT_7, _LAYOUT_8)

LAYOUTS: Final = dict(enumerate(_ALL, 1))


def make_store(folder: Path, layout: int, statements: str = "") -> None:
    """Make a store of an older layout, and run statements in it."""
    with duckdb.connect(folder / FILE_NAME) as connection:
        connection.execute(LAYOUTS[layout])
        if statements:
            connection.execute(statements)
