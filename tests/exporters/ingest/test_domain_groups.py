"""The queries for domains of each group: exact over restarts and new tables, and bounded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dnsvigil.config.collector import Config
from dnsvigil.ingest import domain_groups
from dnsvigil.store.store import Store
from exporters.domain_tables import MADE, write_table
from exporters.ingest.taking import Taking
from exporters.running import sample
from exporters.zeeklogs import START, tsv

MEMBERS = {"example.com": 1, "example.org": 2, "example.net": 2}
NAMES = {1: "CDN", 2: "ordinary"}


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Taking]:
    with Store(tmp_path) as store, closing(Taking(store, Config())) as taking:
        yield taking


def query(qname: str, rcode: int = 0, seconds: float = 0) -> bytes:
    answers = {} if rcode == 0 else {"rtt": "-", "answers": "-", "TTLs": "-"}
    return tsv(ts=f"{START + seconds:.6f}", query=qname, rcode=str(rcode), **answers)


def counted(taking: Taking, value: str = "queries") -> dict[str, float]:
    name = f"dnsvigil_domain_group_{value}_total"
    return {dict(labels)["group"]: count for (each, labels), count in taking.metrics.items() if each == name}


def test_queries_and_failures_count_for_the_group_of_the_domain(taking, tmp_path):
    taking.take("dns", query("www.example.com"))
    assert counted(taking) == {}  # nothing is known of groups
    assert not [name for name, _ in taking.metrics if name.startswith("dnsvigil_domain_group")]
    write_table(tmp_path, MEMBERS, NAMES)
    taking.take("dns", query("a.example.com"), query("example.com", rcode=2), query("www.example.net"))
    taking.take("dns", query("example.org", rcode=2), query("elsewhere.org"), query("b.elsewhere.org", rcode=2))
    assert counted(taking) == {"CDN": 2, "ordinary": 2, "none": 2}
    assert counted(taking, "failures") == {"CDN": 1, "ordinary": 1, "none": 1}
    assert taking.value("dnsvigil_domain_group_domains", group="ordinary") == 2
    assert taking.value("dnsvigil_domain_groups_silhouette") == 0.5
    assert taking.value("dnsvigil_domain_groups_timestamp_seconds") == MADE.timestamp()


def test_counters_go_on_after_a_restart_and_with_the_next_table(taking, tmp_path):
    write_table(tmp_path, MEMBERS, NAMES)
    taking.take("dns", query("example.com"), query("example.org"), query("example.invalid"))
    taking.restart()
    assert counted(taking) == {"CDN": 1, "ordinary": 1, "none": 1}
    taking.take("dns", query("example.com"), query("example.net"))
    assert counted(taking) == {"CDN": 2, "ordinary": 2, "none": 1}
    write_table(tmp_path, {"example.com": 1, "example.org": 3}, {1: "CDN", 3: "mail"})
    taking.take("dns", query("example.com"), query("example.org"), query("example.net"))
    assert counted(taking) == {"CDN": 3, "mail": 1, "none": 2}  # what is no more has no counter
    taking.restart()
    assert counted(taking) == {"CDN": 3, "mail": 1, "none": 2}


def test_a_round_that_fails_counts_nothing(taking, tmp_path):
    write_table(tmp_path, MEMBERS, NAMES)
    taking.take("dns", query("example.com"))
    with taking.store.rehearsal():
        taking.take("dns", query("example.com"))
    taking.restart()
    assert counted(taking) == {"CDN": 1}


def test_a_table_that_cannot_be_read_is_set_aside_and_the_one_before_stays(taking, tmp_path):
    path = write_table(tmp_path, MEMBERS, NAMES)
    taking.take("dns", query("example.com"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    taking.take("dns", query("example.com"))
    taking.take("dns", query("example.com"))
    taking.store.set_aside.flush()
    assert counted(taking) == {"CDN": 3}
    assert taking.value("dnsvigil_set_aside_items", kind="domains") == 1
    assert taking.value("dnsvigil_set_aside_total", kind="domains") == 1
    taking.restart()
    assert taking.value("dnsvigil_set_aside_items", kind="domains") == 1
    assert sample("dnsvigil_domain_groups_timestamp_seconds") not in taking.metrics
    path.write_bytes(whole)
    taking.take("dns", query("example.com"))
    assert counted(taking) == {"CDN": 4}
    assert taking.value("dnsvigil_set_aside_items", kind="domains") == 0


def test_of_too_many_domains_those_with_the_most_queries_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(domain_groups, "MAX_MEMBERS", 2)
    write_table(tmp_path, MEMBERS, NAMES)  # with more queries from one to the next
    with Store(tmp_path) as store, closing(Taking(store, Config())) as taking:
        taking.take("dns", query("example.com"), query("example.org"), query("example.net"))
        assert counted(taking) == {"ordinary": 2, "none": 1}
        assert store.rows("SELECT count(*) FROM group_members") == [(2,)]
