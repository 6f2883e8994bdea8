"""A provider's traffic has the shares that it states, and reads as Zeek writes it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lab import provider, zeeklog

SAMPLE = Path(__file__).parent / "samples" / "dns.log.gz"
COUNT = 50_000
ANSWERS = {"A": r"198\.18\.[\d.]+,198\.19\.[\d.]+", "AAAA": r"2001:db8::[0-9a-f]+", "TXT": r"TXT 11 v=spf1 ~all"}

Records = list[dict[str, Any]]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, Path]:
    folder = tmp_path_factory.mktemp("provider")
    made = {seed: folder / f"{seed}.log" for seed in (1, 2)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provider, "_PIECE", 20_000)
        for seed, path in made.items():
            provider.write(path, COUNT, seed)
    return made


@pytest.fixture(scope="module")
def days(logs: Mapping[int, Path]) -> Mapping[int, Records]:
    return {seed: list(zeeklog.records(path)) for seed, path in logs.items()}


def disposable(records: Records) -> list[str]:
    return [one["query"] for one in records if not is_host(one["query"])]


def is_host(name: str) -> bool:
    *label, _, _ = name.split(".")
    return not label or f"{label[0]}." in provider.HOSTS


def domain(name: str) -> str:
    return ".".join(name.split(".")[-2:])


def form(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what Zeek leaves unset in a record, and the values that go with that."""
    unset = tuple(name for name, _ in zeeklog.DNS_COLUMNS if name not in record)
    values = ("qclass", "qclass_name", "rcode", "rcode_name", "AA", "TC", "RD", "RA", "Z", "rejected")
    return unset, *map(record.get, values)


def test_a_record_is_as_zeek_writes_it(logs: Mapping[int, Path], days: Mapping[int, Records]) -> None:
    assert logs[1].read_bytes().startswith(zeeklog.header(days[1][0]["ts"]))
    sample = list(zeeklog.records(SAMPLE))
    forms, types = {form(one) for one in sample}, {(one["qtype"], one["qtype_name"]) for one in sample}
    for one in days[1]:
        assert form(one) in forms
        assert (one["qtype"], one["qtype_name"]) in types
        if "answers" in one:
            assert len(one["TTLs"]) == len(one["answers"])
            assert re.fullmatch(ANSWERS[one["qtype_name"]], ",".join(one["answers"]))
    assert len({one["uid"] for one in days[1]}) == COUNT


def test_records_come_at_the_rate_and_another_seed_is_another_day(days: Mapping[int, Records]) -> None:
    for seed, records in days.items():
        begin = provider.START + seed * 86_400
        assert [one["ts"] for one in records] == pytest.approx(
            [begin + number / 9_500 for number in range(COUNT)], abs=2e-6, rel=0
        )


def test_shares(days: Mapping[int, Records]) -> None:
    records = days[1]
    rcodes = Counter(one.get("rcode_name") for one in records)
    qtypes = Counter(one["qtype_name"] for one in records)
    servers = Counter(one["id.resp_h"] for one in records)
    for found, share in (
        (rcodes["NXDOMAIN"], 0.05),
        (rcodes["SERVFAIL"], 0.01),
        (rcodes[None], 0.01),
        (qtypes["A"], 0.6),
        (qtypes["AAAA"], 0.25),
        (qtypes["HTTPS"], 0.12),
        (qtypes["TXT"], 0.03),
        (servers["192.0.2.1"], 0.5),
        (servers["192.0.2.2"], 0.5),
        (len(disposable(records)), 0.02),
    ):
        assert found / COUNT == pytest.approx(share, abs=0.01 * max(share, 0.2) ** 0.5)


def test_few_domains_and_clients_have_most_of_the_traffic(days: Mapping[int, Records]) -> None:
    for values, count, exponent in (
        ([domain(one["query"]) for one in days[1]], 200_000, 0.95),
        ([one["id.orig_h"] for one in days[1]], 20_000, 1.3),
    ):
        found = Counter(values).most_common()
        total = sum(rank**-exponent for rank in range(1, count + 1))
        assert found[0][1] / COUNT == pytest.approx(1 / total, rel=0.1)
        assert found[9][1] / COUNT == pytest.approx(10**-exponent / total, rel=0.2)
        assert 100 < len(found) <= count
    hosts = Counter(name.split(".")[0] for one in days[1] if (name := one["query"]).count(".") == 2)
    assert {f"{label}." for label, times in hosts.items() if times > COUNT * 0.09} == {*provider.HOSTS} - {""}


def test_seeds_share_domains_and_clients_and_no_disposable_name(days: Mapping[int, Records]) -> None:
    names = disposable(days[1]) + disposable(days[2])
    assert len(set(names)) == len(names)
    for of in (lambda one: domain(one["query"]), lambda one: one["id.orig_h"]):
        first, second = ({name for name, _ in Counter(map(of, days[seed])).most_common(20)} for seed in (1, 2))
        assert len(first & second) > 15


def test_the_same_seed_gives_the_same_log(
    logs: Mapping[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider, "_PIECE", 20_000)
    provider.write(tmp_path / "again.log", COUNT, 1)
    assert (tmp_path / "again.log").read_bytes() == logs[1].read_bytes()
